//! The state directory, which belongs to this user and to one host alone.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::AppError;
use crate::base::Mutex;
use crate::files::{DirFault, PrivateDir};

/// A locked state directory. It is released when dropped, or when the process dies.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Its content belongs to [`super::clock`].
    lock: Arc<File>,
}

impl StateDir {
    /// Creates the directory if needed, and locks it.
    ///
    /// # Errors
    /// [`AppError::State`], [`AppError::UnsafeState`] and [`AppError::StateInUse`].
    pub fn lock(path: &Path) -> Result<Self, AppError> {
        let folder = PrivateDir::open(path).map_err(|fault| AppError::state(path, fault))?;
        let lock = folder.open_or_create("lock").map_err(|fault| AppError::state(path, fault))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(AppError::StateInUse(path.to_owned())),
            Err(TryLockError::Error(source)) => {
                Err(AppError::state(path, DirFault::System { path: path.join("lock"), source }))
            }
        }
    }

    /// The locked file.
    pub(super) fn lock_file(&self) -> &Arc<File> {
        &self.lock
    }

    /// Holds the lock until the process ends. A call may run until then, and the next holder of the directory relies on
    /// it that none does ([`super::lives`]).
    pub(super) fn hold_until_exit(self) {
        static HELD: Mutex<Vec<StateDir>> = Mutex::new(Vec::new());
        HELD.lock().push(self);
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
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
