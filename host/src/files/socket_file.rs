//! The place of a unix socket: a name in a directory that is held by its descriptor.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Stat, fstat, statat, unlinkat};
use rustix::io::Errno;

use super::DirFault;
use super::walk::{self, Missing};

/// The place of a unix socket. Its directory may belong to another user, such as one that systemd makes, unless every user
/// may replace the socket there.
#[derive(Debug)]
pub struct SocketPlace {
    folder: OwnedFd,
    name: OsString,
    path: PathBuf,
    /// Device and inode of the socket that this process has bound.
    bound: Option<(u64, u64)>,
}

impl SocketPlace {
    /// Opens the directory of a socket.
    ///
    /// # Errors
    /// [`DirFault`] for a directory in which every user may replace the socket, and for an error of the system.
    pub fn open(path: &Path) -> Result<Self, DirFault> {
        let name = path.file_name().ok_or_else(|| DirFault::system(path)(Errno::ISDIR))?.to_owned();
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = walk::open(above, Missing::Refuse)?;
        if walk::lets_all_replace(&fstat(&folder).map_err(DirFault::system(above))?) {
            return Err(DirFault::Parent { path: path.to_owned(), parent: above.to_owned() });
        }
        Ok(Self { folder, name, path: path.to_owned(), bound: None })
    }

    /// Returns true if a socket of this user is there.
    ///
    /// # Errors
    /// [`DirFault`] for a link, another kind of file, or a socket of another user.
    pub fn is_taken(&self) -> Result<bool, DirFault> {
        self.found().map(|found| found.is_some())
    }

    /// Removes the socket that is there.
    ///
    /// # Errors
    /// The error of the system.
    pub fn clear(&self) -> io::Result<()> {
        Ok(unlinkat(&self.folder, &self.name, AtFlags::empty())?)
    }

    /// Records that a socket was bound by the path of this place, which must have led here.
    ///
    /// # Errors
    /// [`DirFault`] if another socket was bound, or none.
    pub fn note_bound(&mut self) -> Result<(), DirFault> {
        let found = self.found()?.ok_or_else(|| DirFault::system(&self.path)(Errno::NOENT))?;
        self.bound = Some((found.st_dev, found.st_ino));
        Ok(())
    }

    /// Removes the socket that this process has bound, if it is still there.
    pub fn leave(&self) {
        let found = self.found().ok().flatten().map(|found| (found.st_dev, found.st_ino));
        if self.bound.is_some() && found == self.bound {
            // Left behind, the next host removes it.
            let _left_behind = self.clear();
        }
    }

    fn found(&self) -> Result<Option<Stat>, DirFault> {
        let found = match statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(DirFault::system(&self.path)(error)),
        };
        let path = || self.path.clone();
        let user = rustix::process::geteuid().as_raw();
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Socket if found.st_uid == user => Ok(Some(found)),
            FileType::Socket => Err(DirFault::Owner { path: path(), owner: found.st_uid, user }),
            FileType::Symlink => Err(DirFault::Link { path: path() }),
            _ => Err(DirFault::Kind { path: path(), wanted: "socket" }),
        }
    }
}
