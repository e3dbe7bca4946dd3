//! Destructors of the host's own thread-locals. One of the files with hand-written `unsafe`.
//!
//! glibc's `__cxa_thread_atexit_impl` takes the loader's lock to find the library of a destructor. The loader holds that
//! lock while constructors of a library run, so a constructor that hangs would stop every thread of the host that uses a
//! thread-local for the first time. The host's program is never unmapped: its destructors need no library, and are kept
//! here, behind one thread key.
#![expect(unsafe_code, reason = "keeps destructors under a thread key, and runs them")]

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::original::Destructor;

/// The destructors of one thread, in the order in which they were registered.
type RegisteredDestructors = Vec<(Destructor, *mut c_void)>;

/// The thread key plus one; 0 before [`prepare`].
static KEY: AtomicU32 = AtomicU32::new(0);

/// Creates the thread key. Until then, and without one, destructors are left to glibc.
pub(super) fn prepare() {
    let mut key = 0;
    // SAFETY: there is room for the key, and `run` has the type of a destructor.
    if KEY.load(Ordering::Relaxed) == 0 && unsafe { libc::pthread_key_create(&raw mut key, Some(run)) } == 0 {
        KEY.store(key + 1, Ordering::Relaxed);
    }
}

/// Keeps a destructor of the host's own for the end of this thread. Returns false if glibc has to.
pub(super) fn register(destructor: Destructor, object: *mut c_void) -> bool {
    let Some(key) = KEY.load(Ordering::Relaxed).checked_sub(1) else { return false };
    // SAFETY: the key exists for the life of the process.
    let mut registered = unsafe { libc::pthread_getspecific(key) }.cast::<RegisteredDestructors>();
    if registered.is_null() {
        registered = Box::into_raw(Box::default());
        // SAFETY: as above; `run` takes this value.
        if unsafe { libc::pthread_setspecific(key, registered.cast()) } != 0 {
            // SAFETY: it was made above, and is known nowhere else.
            drop(unsafe { Box::from_raw(registered) });
            return false;
        }
    }
    // SAFETY: this thread's own, and nothing else refers into it.
    unsafe { &mut *registered }.push((destructor, object));
    true
}

/// Runs the destructors of the thread that ends, the last one first. They may register others.
unsafe extern "C" fn run(registered: *mut c_void) {
    let Some(key) = KEY.load(Ordering::Relaxed).checked_sub(1) else { return };
    let registered = registered.cast::<RegisteredDestructors>();
    // SAFETY: the key exists for the life of the process. The C library has cleared the value.
    unsafe { libc::pthread_setspecific(key, registered.cast()) };
    // SAFETY: this thread's own, made by `register`; the reference ends before a destructor runs.
    while let Some((destructor, object)) = unsafe { &mut *registered }.pop() {
        // SAFETY: registered for this object on this thread, and run once.
        unsafe { destructor(object) };
    }
    // SAFETY: as above.
    unsafe { libc::pthread_setspecific(key, ptr::null()) };
    // SAFETY: made by `register`, and no longer known to the key.
    drop(unsafe { Box::from_raw(registered) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    static RUNS: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" fn count(number: *mut c_void) {
        assert_eq!(RUNS.fetch_add(1, Ordering::SeqCst), number.addr(), "the last one runs first");
    }

    unsafe extern "C" fn register_more(_: *mut c_void) {
        assert!(register(count, ptr::null_mut()));
    }

    #[test]
    fn destructors_run_at_the_end_of_their_thread_and_may_register_others() {
        prepare();
        let registering = std::thread::spawn(|| {
            assert!(register(count, ptr::without_provenance_mut(2)));
            assert!(register(count, ptr::without_provenance_mut(1)));
            assert!(register(register_more, ptr::null_mut()));
            assert_eq!(RUNS.load(Ordering::SeqCst), 0);
        });
        registering.join().unwrap();
        assert_eq!(RUNS.load(Ordering::SeqCst), 3);
    }
}
