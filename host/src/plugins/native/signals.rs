//! Signals: what the host does at each is put back, and a library whose handler may be called stays mapped. One of the
//! files with hand-written `unsafe`.
//!
//! The signals that the host lives by are its own: what a library asks of `sigaction` and `signal` for them is answered
//! as if it had been done, and is not. All others are for libraries to handle. A handler that was installed counts for
//! as long as some handler is: the next one may have kept its address to call it.
//!
//! A handler may call `sigaction`: nothing that stands in front of it allocates or locks.
#![expect(unsafe_code, reason = "replaces functions of the C library, and asks what is done at signals")]

use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use libc::sigaction as Action;
use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGSTOP, SIGTERM, SIGXFSZ};
use signal_hook::low_level::signal_name;

use super::original::{Original, is_of_host};

/// Signals that end or reload the host, and the one that is ignored so that writing fails instead of ending it.
const OF_THE_HOST: [i32; 5] = [SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGXFSZ];
/// `_NSIG` of Linux.
const SIGNALS: usize = 65;
/// Handlers that are remembered.
const HANDLERS_MAX: usize = 512;

/// The action of each signal before any plugin code ran; `None` for signals that cannot be changed.
static SETTLED: OnceLock<Vec<Option<Action>>> = OnceLock::new();
/// As `SETTLED` is there.
static IS_SETTLED: AtomicBool = AtomicBool::new(false);
/// A library has tried to change a signal of the host since the last look.
static REFUSED: [AtomicBool; SIGNALS] = [const { AtomicBool::new(false) }; SIGNALS];
/// Handlers of libraries: the address and, in the lowest seven bits, the signal. 0 is free.
static HANDLERS: [AtomicUsize; HANDLERS_MAX] = [const { AtomicUsize::new(0) }; HANDLERS_MAX];
/// There were more.
static FORGOTTEN: AtomicBool = AtomicBool::new(false);

type SetAction = unsafe extern "C" fn(i32, *const Action, *mut Action) -> i32;

// SAFETY: glibc's function of this name has this type.
static SIGACTION: Original<SetAction> = unsafe { Original::new(c"__interceptor_sigaction") };

/// Notes what is done at each signal.
pub(super) fn prepare() {
    SETTLED.get_or_init(|| (0..SIGNALS as i32).map(current).collect());
    IS_SETTLED.store(true, Ordering::Release);
}

/// Puts back what is not for libraries to change; returns what that was.
pub(super) fn look() -> Vec<String> {
    let mut changed = Vec::new();
    for (signal, settled) in (0..).zip(SETTLED.get().into_iter().flatten()) {
        let Some(settled) = settled else { continue };
        let refused = usize::try_from(signal).is_ok_and(|at| REFUSED[at].swap(false, Ordering::Relaxed));
        let put_back = current(signal).is_some_and(|found| put_back(signal, &found, settled));
        if refused || put_back {
            changed.push(format!("the handling of {}", name(signal)));
        }
    }
    changed
}

/// Puts a signal back if what was found is nothing that a library may do. Returns whether that is worth a word.
fn put_back(signal: i32, found: &Action, settled: &Action) -> bool {
    let reaped = |action: &Action| action.sa_flags & libc::SA_NOCLDWAIT;
    if found.sa_sigaction == settled.sa_sigaction && reaped(found) == reaped(settled) {
        return false;
    }
    let is_of_host = OF_THE_HOST.contains(&signal);
    if is_handler(found.sa_sigaction) {
        note(signal, found.sa_sigaction);
        if !is_of_host {
            return false;
        }
    }
    // SAFETY: an action that the system itself returned for this signal.
    unsafe { set(signal, settled, ptr::null_mut()) };
    // Taking its own handler away is right, independent of the one before.
    is_of_host || found.sa_sigaction != libc::SIG_DFL
}

/// Returns a handler in a library that may still be called.
pub(super) fn hook_in(library: &Range<usize>) -> Option<String> {
    (1..SIGNALS as i32).find_map(|signal| {
        let now = current(signal)?.sa_sigaction;
        let may_call_others = is_handler(now) && !is_of_host(now);
        let is_kept = || handlers_of(signal).any(|handler| library.contains(&handler));
        let forgotten = FORGOTTEN.load(Ordering::Relaxed);
        let held = library.contains(&now) || may_call_others && (forgotten || is_kept());
        held.then(|| format!("its handler of {}", name(signal)))
    })
}

/// The handlers of libraries that were ever seen, and whose libraries are mapped.
pub(super) fn handlers() -> Vec<usize> {
    (1..SIGNALS as i32).flat_map(handlers_of).collect()
}

/// Forgets the handlers of a library that is no longer mapped.
pub(super) fn forget(library: &Range<usize>) {
    for handler in &HANDLERS {
        let packed = handler.load(Ordering::Relaxed);
        if library.contains(&(packed >> 7)) {
            // It may belong to other code by now.
            let _changed = handler.compare_exchange(packed, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

fn handlers_of(signal: i32) -> impl Iterator<Item = usize> {
    let packed = HANDLERS.iter().map(|handler| handler.load(Ordering::Relaxed));
    packed.filter(move |packed| *packed != 0 && (packed & 0x7f) as i32 == signal).map(|packed| packed >> 7)
}

/// Remembers a handler of a library.
fn note(signal: i32, address: usize) {
    let packed = address << 7 | signal as usize & 0x7f;
    for handler in &HANDLERS {
        let taken = handler.compare_exchange(0, packed, Ordering::Relaxed, Ordering::Relaxed);
        if taken.is_ok() || taken == Err(packed) {
            return;
        }
    }
    FORGOTTEN.store(true, Ordering::Relaxed);
}

fn is_handler(address: usize) -> bool {
    address != libc::SIG_DFL && address != libc::SIG_IGN
}

fn name(signal: i32) -> String {
    signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// Returns the action of a signal; `None` for signals that cannot be changed, and signals of the C library itself.
fn current(signal: i32) -> Option<Action> {
    if matches!(signal, SIGKILL | SIGSTOP) {
        return None;
    }
    let mut action = MaybeUninit::<Action>::zeroed();
    // SAFETY: there is room for an answer, and nothing is changed.
    let status = unsafe { set(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: plain numbers, of which zeros are a value.
    (status == 0).then(|| unsafe { action.assume_init() })
}

/// # Safety
/// As of `sigaction`.
unsafe fn set(signal: i32, action: *const Action, old: *mut Action) -> i32 {
    let Some(set) = SIGACTION.get() else { return -1 };
    // SAFETY: the caller vouches for the arguments.
    unsafe { set(signal, action, old) }
}

/// In front of glibc's function of this name: keeps the host's signals, and remembers handlers of libraries.
///
/// # Safety
/// As of glibc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(signal: i32, action: *const Action, old: *mut Action) -> i32 {
    // SAFETY: null, or what the caller asks for.
    let wanted = unsafe { action.as_ref() }.map(|action| action.sa_sigaction);
    let of_library = wanted.filter(|wanted| IS_SETTLED.load(Ordering::Acquire) && !is_of_host(*wanted));
    let Some(wanted) = of_library else {
        // SAFETY: our caller vouches for the arguments.
        return unsafe { set(signal, action, old) };
    };
    if OF_THE_HOST.contains(&signal) {
        let is_as_it_is = current(signal).is_some_and(|now| now.sa_sigaction == wanted);
        if let Some(refused) = usize::try_from(signal).ok().and_then(|at| REFUSED.get(at)) {
            refused.fetch_or(!is_as_it_is, Ordering::Relaxed);
        }
        // SAFETY: our caller vouches for the arguments, and nothing is changed.
        return unsafe { set(signal, ptr::null(), old) };
    }
    // Before it can be called.
    if is_handler(wanted) {
        note(signal, wanted);
    }
    // SAFETY: our caller vouches for the arguments.
    unsafe { set(signal, action, old) }
}

/// In front of glibc's function of this name, which is `sigaction` with fewer words.
///
/// # Safety
/// As of glibc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn signal(signal: i32, handler: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: plain numbers, of which zeros are a value.
    let (mut action, mut old): (Action, Action) = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: both are there.
    match unsafe { sigaction(signal, &raw const action, &raw mut old) } {
        0 => old.sa_sigaction,
        _ => libc::SIG_ERR,
    }
}
