//! The state directory: private, and one host's alone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::AppError;

/// A state directory that this process holds; let go when dropped, or when the process dies.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the directory if need be, and takes it.
    ///
    /// # Errors
    /// [`AppError::State`] and [`AppError::StateInUse`].
    pub fn lock(path: &Path) -> Result<Self, AppError> {
        let refuse = |source| AppError::State { directory: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refuse)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(refuse)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(AppError::StateInUse(path.to_owned())),
            Err(fs::TryLockError::Error(source)) => Err(refuse(source)),
        }
    }

    /// Holds it until the process ends: a call may run until the very end, and the next process to hold the directory
    /// relies on it that none does ([`super::lives`]).
    pub(super) fn hold_until_exit(self) {
        static HELD: Mutex<Vec<StateDir>> = Mutex::new(Vec::new());
        HELD.lock().unwrap_or_else(PoisonError::into_inner).push(self);
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn refuse(&self, source: io::Error) -> AppError {
        AppError::State { directory: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let first = StateDir::lock(scratch.path()).unwrap();
        assert!(matches!(StateDir::lock(scratch.path()), Err(AppError::StateInUse(_))));
        drop(first);
        StateDir::lock(scratch.path()).unwrap();
    }
}
