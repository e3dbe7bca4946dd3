//! Threads that run code of a plugin library: it stays mapped as long as they do. One of the files with hand-written
//! `unsafe`.
//!
//! Threads of Rust keep their library mapped themselves, by the thread-locals that std has on them. Threads of C do
//! not, so each begins here, and registers a destructor of its library for its end, which does nothing: the C library then
//! keeps the library mapped until that has run.
//!
//! Threads that a constructor begins are not among them: the C library would wait for the loader, which waits for the
//! constructor.
#![expect(unsafe_code, reason = "replaces a function of the C library, and begins threads")]

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::libraries::is_watched;
use super::original::{Original, is_of_host};
use super::thread_exit::register_with_glibc;

/// Time that a thread may take to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The job of a thread. A thread that is cancelled, or ends by `pthread_exit`, unwinds through all of it.
type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// A thread that is to run code of a library.
struct Begin {
    start: Start,
    argument: *mut c_void,
}

/// Threads that have been asked for, and do not yet keep their library mapped.
static BEGINNING: AtomicUsize = AtomicUsize::new(0);

type CreateThread =
    unsafe extern "C" fn(*mut libc::pthread_t, *const libc::pthread_attr_t, Start, *mut c_void) -> i32;

// SAFETY: glibc's function of this name has this type.
static PTHREAD_CREATE: Original<CreateThread> = unsafe { Original::new(c"__interceptor_pthread_create") };

/// Looks up what is behind the function of this file.
pub(super) fn prepare() {
    PTHREAD_CREATE.get();
}

/// Waits until every thread keeps its library mapped.
///
/// # Errors
/// That one does not begin, as the reason for which a library is not unmapped.
pub(super) fn wait_until_all_have_begun() -> Result<(), String> {
    let deadline = Instant::now() + BEGIN_TIMEOUT;
    while BEGINNING.load(Ordering::Acquire) > 0 {
        if Instant::now() > deadline {
            return Err("a thread of a plugin has not begun yet".to_owned());
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// The first code of such a thread.
unsafe extern "C-unwind" fn run(begin: *mut c_void) -> *mut c_void {
    // SAFETY: made by `pthread_create` below, for this thread alone.
    let Begin { start, argument } = *unsafe { Box::from_raw(begin.cast::<Begin>()) };
    // SAFETY: `nothing` takes anything; the address lies in the library that is to stay.
    unsafe { register_with_glibc(nothing, ptr::null_mut(), start as *mut c_void) };
    BEGINNING.fetch_sub(1, Ordering::Release);
    // SAFETY: the code that began the thread vouches for this.
    unsafe { start(argument) }
}

/// A destructor that does nothing.
unsafe extern "C" fn nothing(_: *mut c_void) {}

/// In front of glibc's function of this name.
///
/// # Safety
/// As of glibc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> i32 {
    let Some(create) = PTHREAD_CREATE.get() else { return libc::EAGAIN };
    if is_of_host(start as usize) || !is_watched(start as usize) {
        // SAFETY: our caller vouches for the arguments.
        return unsafe { create(thread, attributes, start, argument) };
    }
    let begin = Box::into_raw(Box::new(Begin { start, argument }));
    BEGINNING.fetch_add(1, Ordering::Relaxed);
    // SAFETY: our caller vouches for the arguments, but for what `run` takes apart again.
    let status = unsafe { create(thread, attributes, run, begin.cast()) };
    if status != 0 {
        BEGINNING.fetch_sub(1, Ordering::Release);
        // SAFETY: there is no thread that would have it.
        drop(unsafe { Box::from_raw(begin) });
    }
    status
}
