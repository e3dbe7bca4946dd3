//! Destructors of plugin thread-locals on the host's workers (Linux with glibc).
//!
//! A thread-local with a destructor, any use of tokio for example, makes the code that runs on a thread register
//! that destructor for the thread's end, through `__cxa_thread_atexit_impl`. glibc then keeps the library mapped
//! until the thread has ended, which a worker never does: every reload would leak the library.
//!
//! So the host defines that function itself, in front of glibc's. What plugin libraries register on a worker is
//! recorded here and run, last one first, when their generation is retired: on that worker, from a task of the
//! host's own, where no plugin frame is on the stack. Destructors that a plugin registers on other threads go on to glibc,
//! which must keep pinning the library for them, and the host's own thread-locals go to `host_thread_locals`.
//!
//! Libraries are mapped and closed on one thread that never ends (`threads`), as allocators bind themselves to it. What
//! constructors register there comes before it is known where their library lies, so it is sorted afterwards.
//!
//! AddressSanitizer (`scripts/sanitize.sh`) does not intercept that function.
//!
//! Nothing is unmapped while the host stops, when workers end; what is left on them then is run by their guards,
//! or by the C library.
#![expect(unsafe_code, reason = "replaces a function of the C library and runs destructors")]

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::abort_guard::{self, Aborted};
use super::host_thread_locals;
use super::keys;
use super::libraries::is_watched;
use super::original::{Destructor, Original, is_of_host};
use crate::base::Mutex;

/// The reason to keep a library mapped of which a destructor has aborted.
const ABORTED_TEXT: &str = "a destructor of one of its thread-locals aborted, as a panic in one does: part of its code will never return";
/// Time that all workers have to take part in a flush.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A destructor that a plugin library registered on one worker.
struct Recorded {
    destructor: Destructor,
    object: *mut c_void,
    library: *mut c_void,
}

// SAFETY: only the worker that recorded it runs it; others only look at the address of the library.
unsafe impl Send for Recorded {}

/// The record of one worker.
#[derive(Default)]
struct Worker {
    recorded: Mutex<Vec<Recorded>>,
    /// A library is being mapped on it: what is registered may be of that one.
    mapping: AtomicBool,
    /// Plugin code has run on it. Threads of the runtime's blocking pool are made like workers, and never run any.
    touched: AtomicBool,
    /// Number of the last flush that it took part in.
    flushed: AtomicU64,
    /// The stack from std for signal handlers that ask for one.
    signal_stack: Option<SignalStack>,
}

/// A stack for signal handlers.
#[derive(Clone, Copy)]
struct SignalStack(libc::stack_t);

// SAFETY: a description of memory; only the thread that it belongs to uses it.
unsafe impl Send for SignalStack {}
// SAFETY: as above.
unsafe impl Sync for SignalStack {}

impl SignalStack {
    /// This thread's.
    fn current() -> Option<Self> {
        let mut stack = MaybeUninit::<libc::stack_t>::uninit();
        // SAFETY: there is room for an answer, and nothing is changed.
        let status = unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) };
        // SAFETY: the system has filled it.
        (status == 0).then(|| Self(unsafe { stack.assume_init() }))
    }
}

impl Worker {
    /// Gives this thread the signal stack back that it began with: another one may lie in a library.
    fn put_stack_back(&self) {
        let Some((SignalStack(own), SignalStack(now))) = self.signal_stack.zip(SignalStack::current()) else {
            return;
        };
        if now.ss_sp != own.ss_sp {
            // SAFETY: the stack that this thread was made with, which lives as long as it.
            unsafe { libc::sigaltstack(&raw const own, ptr::null_mut()) };
        }
    }
}

type Register = unsafe extern "C" fn(Destructor, *mut c_void, *mut c_void) -> i32;

// SAFETY: the C library's function of this name has this type.
static REGISTER: Original<Register> = unsafe { Original::new(c"__cxa_thread_atexit_impl") };
/// Libraries of which a destructor has aborted: part of them lies on a stack that was given up.
static ABORTED: Mutex<Vec<Range<usize>>> = Mutex::new(Vec::new());
static FLUSHES: AtomicU64 = AtomicU64::new(0);
/// Held for the length of a flush: a worker notes only the number of the last one, so they come one after the other.
static FLUSHING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

static WORKERS: Mutex<Vec<Arc<Worker>>> = Mutex::new(Vec::new());

thread_local! {
    /// This thread's record, if it is a worker. Const and without a destructor, so that reading it registers nothing.
    static CURRENT: Cell<*const Worker> = const { Cell::new(ptr::null()) };
    /// Runs what is left when the thread ends.
    static GUARD: Cell<Option<Guard>> = const { Cell::new(None) };
}

struct Guard(Arc<Worker>);

impl Drop for Guard {
    fn drop(&mut self) {
        CURRENT.set(ptr::null());
        // What aborts now would have ended the process, which ends.
        while run(&self.0, |_| true).is_err() {}
        WORKERS.lock().retain(|worker| !Arc::ptr_eq(worker, &self.0));
    }
}

/// Looks up what is behind the function of this file.
pub(super) fn prepare() {
    REGISTER.get();
    host_thread_locals::prepare();
}

/// Makes this thread a worker: the first thing that every thread of the host's runtime does.
pub(in crate::plugins) fn enter_worker() {
    let worker = Arc::new(Worker { signal_stack: SignalStack::current(), ..Worker::default() });
    WORKERS.lock().push(Arc::clone(&worker));
    CURRENT.set(Arc::as_ptr(&worker));
    GUARD.set(Some(Guard(worker)));
}

/// Notes that plugin code runs on this thread: at every entry of a call.
#[inline]
pub(in crate::plugins) fn touch() {
    // SAFETY: null, or the record that this thread's guard keeps alive until it clears the pointer.
    if let Some(worker) = unsafe { CURRENT.get().as_ref() }
        && !worker.touched.load(Ordering::Relaxed)
    {
        worker.touched.store(true, Ordering::Relaxed);
    }
}

/// Runs plugin code on a thread that ends afterwards, and then what it registered there.
///
/// # Errors
/// That a destructor has aborted.
pub(in crate::plugins) fn run_and_flush<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    let worker = Worker::default();
    CURRENT.set(&raw const worker);
    let answer = code();
    CURRENT.set(ptr::null());
    let mut flushed = Ok(());
    while run(&worker, |_| true).is_err() {
        flushed = Err(ABORTED_TEXT.to_owned());
    }
    flushed.map(|()| answer)
}

/// Makes this thread the one that maps libraries. It never ends, and takes no part in [`flush`].
pub(in crate::plugins) fn enter_mapper() {
    CURRENT.set(Box::leak(Box::default()));
}

/// Maps a library by `map`, which calls `libraries::watch` for it. On the thread that maps.
pub(in crate::plugins) fn while_mapping<T>(map: impl FnOnce() -> T) -> T {
    // SAFETY: null, or the record that this thread keeps.
    let Some(mapper) = (unsafe { CURRENT.get().as_ref() }) else { return map() };
    mapper.mapping.store(true, Ordering::Relaxed);
    let mapped = map();
    mapper.mapping.store(false, Ordering::Relaxed);
    // What libraries registered that the plugin brought along: the C library keeps them mapped for it.
    let others: Vec<Recorded> = {
        let mut recorded = mapper.recorded.lock();
        recorded.extract_if(.., |recorded| !is_watched(recorded.library.addr())).collect()
    };
    for Recorded { destructor, object, library } in others {
        // SAFETY: the recorded call had these arguments, on this thread.
        unsafe { register_with_glibc(destructor, object, library) };
    }
    mapped
}

/// Runs what a library registered on the thread that maps, which this is.
///
/// # Errors
/// That a destructor has aborted.
pub(super) fn flush_mapper(library: &Range<usize>) -> Result<(), String> {
    // SAFETY: null, or the record that this thread keeps.
    let Some(mapper) = (unsafe { CURRENT.get().as_ref() }) else { return Ok(()) };
    destroy(mapper, library).map_err(|Aborted| ABORTED_TEXT.to_owned())
}

/// Runs what a library registered, on every worker that plugin code has run on.
///
/// The library's generation is retired: nothing of it is called any more, so nothing new is registered.
///
/// # Errors
/// Why it has to stay mapped.
pub(in crate::plugins) async fn flush(library: &Range<usize>) -> Result<(), String> {
    let _turn = FLUSHING.lock().await;
    let number = FLUSHES.fetch_add(1, Ordering::Relaxed) + 1;
    let workers = WORKERS.lock().len();
    let deadline = Instant::now() + FLUSH_TIMEOUT;
    // As many tasks as workers, each ready all the time, bring every worker to take one.
    let tasks: Vec<_> = (0..workers)
        .map(|_| {
            let library = library.clone();
            let flushing = async move {
                while !all_flushed(number) && Instant::now() < deadline {
                    flush_here(&library, number);
                    tokio::task::yield_now().await;
                }
            };
            #[expect(clippy::disallowed_methods, reason = "awaited right below, and bounded by the deadline")]
            tokio::spawn(flushing)
        })
        .collect();
    for task in tasks {
        if task.await.is_err() {
            tracing::error!("a destructor of a plugin's thread-local panicked");
        }
    }
    if ABORTED.lock().contains(library) {
        Err(ABORTED_TEXT.to_owned())
    } else if all_flushed(number) && !holds(library) {
        Ok(())
    } else {
        Err("a worker still has thread-locals of it, and did not come to rest in time".to_owned())
    }
}

/// Returns true if a worker has a destructor of the library left.
fn holds(library: &Range<usize>) -> bool {
    let of_library = |recorded: &Recorded| library.contains(&recorded.library.addr());
    WORKERS.lock().iter().any(|worker| worker.recorded.lock().iter().any(of_library))
}

/// Returns true if every worker that may have something of a plugin took part in a flush.
fn all_flushed(number: u64) -> bool {
    let done = |worker: &Arc<Worker>| {
        !worker.touched.load(Ordering::Relaxed) || worker.flushed.load(Ordering::Relaxed) >= number
    };
    WORKERS.lock().iter().all(done)
}

/// Runs what the library registered on this very thread. No plugin frame is on the stack: a task of ours calls it.
fn flush_here(library: &Range<usize>, number: u64) {
    // SAFETY: null, or the record that this thread's guard keeps alive until it clears the pointer.
    let Some(worker) = (unsafe { CURRENT.get().as_ref() }) else { return };
    if worker.flushed.load(Ordering::Relaxed) >= number {
        return;
    }
    if destroy(worker, library).is_err() {
        ABORTED.lock().push(library.clone());
    }
    worker.put_stack_back();
    worker.flushed.store(number, Ordering::Relaxed);
}

/// Destroys what this thread has of a library: thread-locals, then values under its keys, as at a thread's end.
fn destroy(worker: &Worker, library: &Range<usize>) -> Result<(), Aborted> {
    run(worker, |recorded| library.contains(&recorded.library.addr()))?;
    if keys::has_values(library) { abort_guard::run(&mut || keys::destroy_values(library)) } else { Ok(()) }
}

/// Runs what fits, last one first, until nothing of the kind is left: a destructor may register another one.
fn run(worker: &Worker, fits: impl Fn(&Recorded) -> bool) -> Result<(), Aborted> {
    let next = || {
        let mut recorded = worker.recorded.lock();
        recorded.iter().rposition(&fits).map(|place| recorded.remove(place))
    };
    let mut first = next();
    if first.is_none() {
        return Ok(());
    }
    abort_guard::run(&mut || {
        while let Some(Recorded { destructor, object, .. }) = first.take().or_else(next) {
            // SAFETY: registered for this object on this thread, run once; its library is still mapped, as it is only
            // unmapped after `flush` found nothing left, and nothing is unmapped while workers end.
            unsafe { destructor(object) };
        }
    })
}

/// In front of glibc's function of this name (see the module's doc).
///
/// # Safety
/// As of glibc's: `destructor` may be called with `object` at the thread's end.
#[unsafe(no_mangle)]
unsafe extern "C" fn __cxa_thread_atexit_impl(
    destructor: Destructor,
    object: *mut c_void,
    library: *mut c_void,
) -> i32 {
    let current = CURRENT.get();
    // SAFETY: null, or the record that this thread's guard keeps alive until it clears the pointer.
    if let Some(worker) = unsafe { current.as_ref() } {
        let may_be_mapped_now = worker.mapping.load(Ordering::Relaxed) && !is_of_host(library.addr());
        if may_be_mapped_now || is_watched(library.addr()) {
            worker.recorded.lock().push(Recorded { destructor, object, library });
            return 0;
        }
    }
    if is_of_host(library.addr()) && host_thread_locals::register(destructor, object) {
        return 0;
    }
    // SAFETY: our caller vouches for the arguments.
    unsafe { register_with_glibc(destructor, object, library) }
}

/// # Safety
/// As of [`__cxa_thread_atexit_impl`].
pub(super) unsafe fn register_with_glibc(
    destructor: Destructor,
    object: *mut c_void,
    library: *mut c_void,
) -> i32 {
    // Before glibc 2.18. A destructor that does not run leaks what it would have freed.
    let Some(register) = REGISTER.get() else { return -1 };
    // SAFETY: our caller vouches for the arguments.
    unsafe { register(destructor, object, library) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::native::libraries::watch;
    use std::sync::atomic::AtomicUsize;

    static RUNS: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" fn count(_: *mut c_void) {
        RUNS.fetch_add(1, Ordering::SeqCst);
    }

    #[test]
    fn a_workers_destructors_run_when_asked_and_the_rest_at_its_end() {
        let (library, other) = (0x1000..0x2000, 0x5000..0x6000);
        watch(library.clone());
        watch(other.clone());
        std::thread::spawn(move || {
            enter_worker();
            for address in [0x1800, 0x1801, 0x5800] {
                // SAFETY: `count` takes anything.
                unsafe {
                    __cxa_thread_atexit_impl(count, ptr::null_mut(), ptr::without_provenance_mut(address))
                };
            }
            flush_here(&library, 1);
            assert_eq!(RUNS.load(Ordering::SeqCst), 2, "of one library alone");
            flush_here(&library, 1);
            assert_eq!(RUNS.load(Ordering::SeqCst), 2, "once");
        })
        .join()
        .unwrap();
        assert_eq!(RUNS.load(Ordering::SeqCst), 3, "what was left ran at the end of the thread");
    }
}
