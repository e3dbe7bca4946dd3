//! The way from the root to a directory, one descriptor after the other, so that nothing on it changes unseen.
//!
//! A link is followed if the user of this process or root made it, as systemd makes one for a state directory.
//! A directory on the way may be another user's: that user can hide what is below, and the descriptor stays the one
//! that was checked.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, readlinkat};
use rustix::io::Errno;

use super::DirFault;

/// The maximum number of entries on one way, including links and their targets.
const STEPS_MAX: usize = 256;
/// Every user may write.
const WRITABLE_BY_ALL: u32 = 0o002;
/// In a directory with this bit, an entry belongs to its own user alone.
const STICKY: u32 = 0o1000;
/// Only this user may enter.
const MODE: Mode = Mode::from_raw_mode(0o700);

/// A directory on the way, which need not be readable.
#[cfg(target_os = "linux")]
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const LOOK: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The treatment of a part that is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is made, private to this user.
    Make,
    Refuse,
}

/// Opens a directory.
pub(super) fn open(path: &Path, missing: Missing) -> Result<OwnedFd, DirFault> {
    let system = DirFault::system(path);
    let absolute =
        std::path::absolute(path).map_err(|source| DirFault::System { path: path.to_owned(), source })?;
    let root = openat(CWD, "/", LOOK, Mode::empty()).map_err(&system)?;
    let trusted = [rustix::process::geteuid().as_raw(), 0, fstat(&root).map_err(&system)?.st_uid];
    let mut way = Way { here: root, shown: PathBuf::from("/"), rest: Vec::new() };
    way.go(&absolute);
    for _ in 0..STEPS_MAX {
        let Some(name) = way.rest.pop() else {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            return openat(&way.here, ".", flags, Mode::empty()).map_err(system);
        };
        let shown = way.shown.join(&name);
        let next = match openat(&way.here, &name, LOOK, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) if missing == Missing::Make => {
                match mkdirat(&way.here, &name, MODE) {
                    Ok(()) | Err(Errno::EXIST) => way.rest.push(name),
                    Err(error) => return Err(DirFault::system(&shown)(error)),
                }
                continue;
            }
            Err(error) => return Err(DirFault::system(&shown)(error)),
        };
        let found = fstat(&next).map_err(DirFault::system(&shown))?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink if trusted.contains(&found.st_uid) => {
                let target = readlinkat(&next, "", Vec::new()).map_err(DirFault::system(&shown))?;
                way.follow(Path::new(OsStr::from_bytes(target.as_bytes())))?;
            }
            FileType::Symlink => return Err(DirFault::ForeignLink { path: shown, owner: found.st_uid }),
            FileType::Directory if !way.rest.is_empty() && lets_all_replace(&found) => {
                return Err(DirFault::Parent { path: path.to_owned(), parent: shown });
            }
            FileType::Directory => (way.here, way.shown) = (next, shown),
            _ => return Err(DirFault::System { path: shown, source: Errno::NOTDIR.into() }),
        }
    }
    Err(system(Errno::LOOP))
}

/// Returns true if every user may rename and remove the entries of a directory.
pub(super) fn lets_all_replace(directory: &Stat) -> bool {
    directory.st_mode & WRITABLE_BY_ALL != 0 && directory.st_mode & STICKY == 0
}

/// The directory that was reached, and the rest of the way.
struct Way {
    here: OwnedFd,
    shown: PathBuf,
    /// The next one last.
    rest: Vec<OsString>,
}

impl Way {
    /// Puts the parts of a path before the rest of the way.
    fn go(&mut self, path: &Path) {
        let parts = path.components().rev().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        });
        self.rest.extend(parts);
    }

    fn follow(&mut self, target: &Path) -> Result<(), DirFault> {
        if target.is_absolute() {
            self.here = openat(CWD, "/", LOOK, Mode::empty()).map_err(DirFault::system(target))?;
            self.shown = PathBuf::from("/");
        }
        self.go(target);
        Ok(())
    }
}
