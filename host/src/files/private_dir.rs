//! A directory of this user alone, held by its descriptor: if its name leads elsewhere later, this directory stays the
//! one that was checked, and so do its entries.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, StatVfsMountFlags, fstat, fstatvfs, mkdirat, openat,
    renameat, unlinkat,
};
use rustix::io::Errno;

use super::DirFault;
use super::walk::{self, Missing};

/// The group or every user may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Only this user may enter.
const MODE: Mode = Mode::from_raw_mode(0o700);
/// Entries are opened without following a link or waiting for a pipe.
const ENTRY: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// A directory that belongs to the user of this process, and that no other user can write to.
///
/// Entries are single names, never paths.
#[derive(Debug)]
pub struct PrivateDir {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl PrivateDir {
    /// Opens a directory, or makes it with mode 0700.
    ///
    /// # Errors
    /// [`DirFault`] for a directory that another user owns, may write to or may replace, and for an error of the
    /// system.
    pub fn open(path: &Path) -> Result<Self, DirFault> {
        Self::checked(walk::open(path, Missing::Make)?, path)
    }

    /// Opens a directory inside this one, or makes it with mode 0700.
    ///
    /// # Errors
    /// As [`PrivateDir::open`], and [`DirFault::Link`].
    pub fn folder(&self, name: &str) -> Result<Self, DirFault> {
        let path = self.path.join(name);
        match mkdirat(&self.descriptor, name, MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(DirFault::system(&path)(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | ENTRY;
        let opened = openat(&self.descriptor, name, flags, Mode::empty());
        let descriptor = opened.map_err(|error| self.refusal(name, error))?;
        Self::checked(descriptor, &path)
    }

    fn checked(descriptor: OwnedFd, path: &Path) -> Result<Self, DirFault> {
        let found = fstat(&descriptor).map_err(DirFault::system(path))?;
        check_owner(&found, path)?;
        Ok(Self { descriptor, path: path.to_owned() })
    }

    /// Its name, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the mount point of this directory's file system if it is mounted with `noexec`, which prevents mapping
    /// code.
    pub fn noexec_mount(&self) -> Option<PathBuf> {
        let flags = fstatvfs(&self.descriptor).ok()?.f_flag;
        if !flags.contains(StatVfsMountFlags::NOEXEC) {
            return None;
        }
        let mut mount = fs::canonicalize(&self.path).ok()?;
        let device = fs::metadata(&mount).ok()?.dev();
        while let Some(parent) = mount.parent()
            && fs::metadata(parent).is_ok_and(|found| found.dev() == device)
        {
            mount = parent.to_owned();
        }
        Some(mount)
    }

    /// Returns a path to an entry that leads through the descriptor, for functions that take only paths, such as the
    /// loader of libraries. It is valid in this process, as long as this value lives.
    pub fn entry(&self, name: impl AsRef<Path>) -> PathBuf {
        let through = Path::new("/proc/self/fd").join(self.descriptor.as_raw_fd().to_string());
        // Without `/proc`, by its name.
        let folder = if through.exists() { &through } else { &self.path };
        folder.join(name)
    }

    /// Makes a new file.
    ///
    /// # Errors
    /// The error of the system, `AlreadyExists` for any entry of that name.
    pub fn create(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | ENTRY;
        Ok(openat(&self.descriptor, name.as_ref(), flags, Mode::from_raw_mode(mode))?.into())
    }

    /// Opens a file for reading and writing, or makes an empty one with mode 0600.
    ///
    /// # Errors
    /// [`DirFault`] for a link, for an entry that is not a file of this user alone, and for an error of the system.
    pub fn open_or_create(&self, name: &str) -> Result<File, DirFault> {
        let flags = OFlags::RDWR | OFlags::CREATE | ENTRY;
        self.file(name, openat(&self.descriptor, name, flags, Mode::from_raw_mode(0o600)))
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As [`PrivateDir::open_or_create`].
    pub fn read(&self, name: &str) -> Result<File, DirFault> {
        self.file(name, openat(&self.descriptor, name, OFlags::RDONLY | ENTRY, Mode::empty()))
    }

    fn file(&self, name: &str, opened: Result<OwnedFd, Errno>) -> Result<File, DirFault> {
        let path = self.path.join(name);
        let descriptor = opened.map_err(|error| self.refusal(name, error))?;
        let found = fstat(&descriptor).map_err(DirFault::system(&path))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(DirFault::Kind { path, wanted: "regular file" });
        }
        check_owner(&found, &path)?;
        Ok(descriptor.into())
    }

    /// Explains an error of the system for an entry.
    fn refusal(&self, name: &str, error: Errno) -> DirFault {
        let path = self.path.join(name);
        let found = rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW);
        match (error, found.map(|found| FileType::from_raw_mode(found.st_mode))) {
            (_, Ok(FileType::Symlink)) => DirFault::Link { path },
            (Errno::NXIO | Errno::ISDIR, _) => DirFault::Kind { path, wanted: "regular file" },
            (error, _) => DirFault::system(&path)(error),
        }
    }

    /// Replaces an entry by a file with mode 0600. After a crash, the entry has the old bytes or the new ones.
    ///
    /// # Errors
    /// The error of the system; then the old entry is still there.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace_and(name, bytes, |file| file.sync_all())?;
        rustix::fs::fsync(&self.descriptor)?;
        Ok(())
    }

    /// As [`PrivateDir::replace`], without waiting for the disk: after a crash of the system, though not of this process,
    /// the entry may be damaged.
    ///
    /// # Errors
    /// As [`PrivateDir::replace`].
    pub fn replace_soon(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace_and(name, bytes, |_| Ok(()))
    }

    fn replace_and(
        &self,
        name: &str,
        bytes: &[u8],
        sync: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let new = format!("{name}.new");
        self.remove(&new).or_else(missing_is_fine)?;
        let mut file = self.create(&new, 0o600)?;
        file.write_all(bytes)?;
        sync(&file)?;
        self.rename(&new, name)
    }

    /// Renames an entry, and replaces one that has the new name.
    ///
    /// # Errors
    /// The error of the system.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.descriptor, from, &self.descriptor, to)?)
    }

    /// Removes an entry that is not a directory; of a link, the link.
    ///
    /// # Errors
    /// The error of the system.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&self.descriptor, name.as_ref(), AtFlags::empty())?)
    }

    /// Returns the names of all entries.
    ///
    /// # Errors
    /// The error of the system.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }
}

/// The path of a private directory. It is opened and checked anew for each use: while a host runs, an operator may put
/// another directory there, or mount another file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivatePath {
    path: PathBuf,
    folder: Option<&'static str>,
}

impl PrivatePath {
    /// A directory by its path, which may lead over links.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), folder: None }
    }

    /// A directory inside another one; it must not be a link.
    pub fn inside(path: &Path, folder: &'static str) -> Self {
        Self { path: path.to_owned(), folder: Some(folder) }
    }

    /// Its path.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.map_or_else(|| self.path.clone(), |folder| self.path.join(folder))
    }

    /// Opens the directory, or makes it.
    ///
    /// # Errors
    /// As [`PrivateDir::open`].
    pub fn open(&self) -> Result<PrivateDir, DirFault> {
        let dir = PrivateDir::open(&self.path)?;
        match self.folder {
            Some(name) => dir.folder(name),
            None => Ok(dir),
        }
    }
}

impl AsFd for PrivateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// For removing what need not be there.
fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn check_owner(found: &Stat, path: &Path) -> Result<(), DirFault> {
    let (owner, user) = (found.st_uid, rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(DirFault::Owner { path: path.to_owned(), owner, user });
    }
    let mode = found.st_mode & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(DirFault::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
