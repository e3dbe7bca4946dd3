//! Functions of libraries that the C library calls at the end of the process (`on_exit`), or when a timer fires
//! (`timer_create` with `SIGEV_THREAD`): their libraries stay mapped. One of the files with hand-written `unsafe`.
//!
//! The C library itself runs or forgets what `atexit`, C++ statics and `pthread_atfork` register as it closes the library.
#![expect(unsafe_code, reason = "replaces functions of the C library")]

use std::ffi::c_void;
use std::ops::Range;

use super::original::{Original, is_of_host};
use crate::base::Mutex;

/// A function that is called later.
struct Callback {
    function: usize,
    what: &'static str,
    /// The timer that calls it.
    timer: Option<usize>,
}

static CALLBACKS: Mutex<Vec<Callback>> = Mutex::new(Vec::new());

type ExitHandler = unsafe extern "C" fn(i32, *mut c_void);
type OnExit = unsafe extern "C" fn(ExitHandler, *mut c_void) -> i32;
type TimerCreate = unsafe extern "C" fn(libc::clockid_t, *mut libc::sigevent, *mut libc::timer_t) -> i32;
type TimerDelete = unsafe extern "C" fn(libc::timer_t) -> i32;

// SAFETY: glibc's function of this name has this type.
static ON_EXIT: Original<OnExit> = unsafe { Original::new(c"on_exit") };
// SAFETY: as above.
static TIMER_CREATE: Original<TimerCreate> = unsafe { Original::new(c"__interceptor_timer_create") };
// SAFETY: as above.
static TIMER_DELETE: Original<TimerDelete> = unsafe { Original::new(c"timer_delete") };

/// Looks up what is behind the functions of this file.
pub(super) fn prepare() {
    ON_EXIT.get();
    TIMER_CREATE.get();
    TIMER_DELETE.get();
}

/// Returns a function in a library that may still be called.
pub(super) fn hook_in(library: &Range<usize>) -> Option<String> {
    let callbacks = CALLBACKS.lock();
    let held = callbacks.iter().find(|callback| library.contains(&callback.function))?;
    Some(held.what.to_owned())
}

/// The functions that may still be called.
pub(super) fn functions() -> Vec<usize> {
    CALLBACKS.lock().iter().map(|callback| callback.function).collect()
}

/// In front of glibc's function of this name.
///
/// # Safety
/// As of glibc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn on_exit(function: ExitHandler, argument: *mut c_void) -> i32 {
    let Some(original) = ON_EXIT.get() else { return -1 };
    let callback =
        Callback { function: function as usize, what: "its handler of the process's end", timer: None };
    CALLBACKS.lock().push(callback);
    // SAFETY: our caller vouches for the arguments.
    unsafe { original(function, argument) }
}

/// In front of glibc's function of this name.
///
/// # Safety
/// As of glibc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn timer_create(
    clock: libc::clockid_t,
    event: *mut libc::sigevent,
    timer: *mut libc::timer_t,
) -> i32 {
    /// Offset of the function in `struct sigevent`: behind the value, the signal and the kind.
    const FUNCTION_AT: usize = 16;
    let Some(original) = TIMER_CREATE.get() else { return -1 };
    // SAFETY: our caller vouches for the arguments.
    let status = unsafe { original(clock, event, timer) };
    // SAFETY: null, or the caller's.
    let kind = unsafe { event.as_ref() }.map(|event| event.sigev_notify);
    if status == 0 && kind == Some(libc::SIGEV_THREAD) {
        let at = event.cast::<u8>().wrapping_add(FUNCTION_AT).cast::<usize>();
        // SAFETY: a sigevent of this kind has the address of a function there.
        let function = unsafe { *at };
        // SAFETY: glibc has just written to it.
        let timer = unsafe { *timer }.addr();
        if !is_of_host(function) {
            CALLBACKS.lock().push(Callback { function, what: "its timer", timer: Some(timer) });
        }
    }
    status
}

/// In front of glibc's function of this name.
///
/// # Safety
/// As of glibc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn timer_delete(timer: libc::timer_t) -> i32 {
    let Some(original) = TIMER_DELETE.get() else { return -1 };
    // Not afterwards: then another timer may have its number.
    CALLBACKS.lock().retain(|callback| callback.timer != Some(timer.addr()));
    // SAFETY: the argument is that of our caller.
    unsafe { original(timer) }
}
