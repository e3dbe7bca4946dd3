//! Locks without poison, for what is held for a few instructions and never over an `.await`.
//!
//! A panic while one is held leaves no value half written anywhere in the host, so its poison says nothing. The locks are
//! from the standard library, which keep nothing for each thread: some of this code runs while a thread ends, after
//! its thread-locals are gone.

pub use std::sync::MutexGuard;

use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard};

/// A mutual exclusion lock whose guard is always given out.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Creates an unlocked mutex.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks, and blocks the thread until it can.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader-writer lock whose guards are always given out.
#[derive(Debug, Default)]
pub struct RwLock<T: ?Sized>(std::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// Creates an unlocked lock.
    pub const fn new(value: T) -> Self {
        Self(std::sync::RwLock::new(value))
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for shared reading, and blocks the thread until it can.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks for writing alone, and blocks the thread until it can.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_it_is_held_does_not_keep_others_out() {
        let mutex = Mutex::new(1);
        let panicked = std::thread::scope(|scope| {
            let held = scope.spawn(|| {
                let _held = mutex.lock();
                panic!("while it is held");
            });
            held.join().is_err()
        });
        assert!(panicked);
        assert_eq!(*mutex.lock(), 1);
    }
}
