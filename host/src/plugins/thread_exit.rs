//! Destructors of plugin thread-locals on the host's workers (Linux with glibc).
//!
//! A thread-local with a destructor, any use of tokio for example, makes the code that runs on a thread register
//! that destructor for the thread's end, through `__cxa_thread_atexit_impl`. glibc then keeps the library mapped
//! until the thread has ended, which a worker never does: every reload would leak the library.
//!
//! So the host defines that function itself, in front of glibc's. What plugin libraries register on a worker is
//! recorded here and run, last one first, when their generation is retired: on that worker, from a task of the
//! host's own, where no plugin frame is on the stack. Everything else goes on to glibc: the host's own
//! thread-locals, and whatever a plugin registers on other threads, which it must keep pinning the library for.
//!
//! The same holds for `pthread_key_create`: std in a plugin makes a key whose destructor is plugin code, for
//! `std::thread::current` for example. A process has 1,024 keys, closing a library gives none of them back, and a
//! worker that ends would call a destructor that is not there any more. So keys of plugin libraries are recorded;
//! what workers have under them is destroyed together with the thread-locals, and the keys are deleted once the
//! library is proven gone: not earlier, as a thread of the plugin might use one until then.
//!
//! AddressSanitizer (`scripts/sanitize.sh`) intercepts neither of the two. It makes a key of its own as it starts,
//! before any constructor has run: its call comes through ours, which therefore relies on statics that need none.
//!
//! Nothing is unmapped while the host stops, when workers end; what is left on them then is run by their guards,
//! or by the C library.
#![expect(unsafe_code, reason = "replaces a function of the C library and runs destructors")]

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How long the workers may take to come by.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

type Destructor = unsafe extern "C" fn(*mut c_void);

/// A destructor that a plugin library registered on one worker.
struct Recorded {
    destructor: Destructor,
    object: *mut c_void,
    library: *mut c_void,
}

// SAFETY: only the worker that recorded it runs it; others only look at the address of the library.
unsafe impl Send for Recorded {}

/// What is recorded on one worker.
#[derive(Default)]
struct Worker {
    recorded: Mutex<Vec<Recorded>>,
    /// Plugin code has run on it. Threads of the runtime's blocking pool are made like workers, and never run any.
    touched: AtomicBool,
    /// Number of the last flush that it took part in.
    flushed: AtomicU64,
}

/// A key that a plugin library made.
struct Key {
    key: libc::pthread_key_t,
    destructor: usize,
}

/// Keys whose destructor lies in a plugin library.
static KEYS: Mutex<Vec<Key>> = Mutex::new(Vec::new());
static FLUSHES: AtomicU64 = AtomicU64::new(0);
/// Held for the length of a flush: a worker notes only the number of the last one, so they come one after the other.
static FLUSHING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

static WORKERS: Mutex<Vec<Arc<Worker>>> = Mutex::new(Vec::new());
/// Where plugin libraries are mapped.
static LIBRARIES: RwLock<Vec<Range<usize>>> = RwLock::new(Vec::new());

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
        run(&self.0, |_| true);
        lock(&WORKERS).retain(|worker| !Arc::ptr_eq(worker, &self.0));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this thread a worker: the first thing that every thread of the host's runtime does.
pub fn enter_worker() {
    let worker = Arc::new(Worker::default());
    lock(&WORKERS).push(Arc::clone(&worker));
    CURRENT.set(Arc::as_ptr(&worker));
    GUARD.set(Some(Guard(worker)));
}

/// Notes that plugin code runs on this thread: at every entry of a call.
#[inline]
pub(super) fn touch() {
    // SAFETY: null, or the record that this thread's guard keeps alive until it clears the pointer.
    if let Some(worker) = unsafe { CURRENT.get().as_ref() }
        && !worker.touched.load(Ordering::Relaxed)
    {
        worker.touched.store(true, Ordering::Relaxed);
    }
}

/// Notes where a plugin library is mapped, before any call of it.
pub(super) fn watch(library: Range<usize>) {
    LIBRARIES.write().unwrap_or_else(PoisonError::into_inner).push(library);
}

/// Forgets a library that is no longer mapped, and gives its keys back.
pub(super) fn forget(library: &Range<usize>) {
    LIBRARIES.write().unwrap_or_else(PoisonError::into_inner).retain(|known| known != library);
    lock(&KEYS).retain(|key| {
        let gone = library.contains(&key.destructor);
        if gone {
            // SAFETY: the library that made the key is unmapped, so nothing is left that could use it.
            unsafe { libc::pthread_key_delete(key.key) };
        }
        !gone
    });
}

/// Runs what a library registered, on every worker that plugin code has run on; answers whether all came by.
///
/// The library's generation is retired: nothing of it is called any more, so nothing new is registered.
pub(super) async fn flush(library: &Range<usize>) -> bool {
    let _turn = FLUSHING.lock().await;
    let number = FLUSHES.fetch_add(1, Ordering::Relaxed) + 1;
    let workers = lock(&WORKERS).len();
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
    all_flushed(number) && !holds(library)
}

/// Whether some worker has a destructor of the library left.
fn holds(library: &Range<usize>) -> bool {
    let of_library = |recorded: &Recorded| library.contains(&recorded.library.addr());
    lock(&WORKERS).iter().any(|worker| lock(&worker.recorded).iter().any(of_library))
}

/// Whether every worker that may have something of a plugin took part in a flush.
fn all_flushed(number: u64) -> bool {
    let done = |worker: &Arc<Worker>| {
        !worker.touched.load(Ordering::Relaxed) || worker.flushed.load(Ordering::Relaxed) >= number
    };
    lock(&WORKERS).iter().all(done)
}

/// Runs what the library registered on this very thread. No plugin frame is on the stack: a task of ours calls it.
fn flush_here(library: &Range<usize>, number: u64) {
    // SAFETY: null, or the record that this thread's guard keeps alive until it clears the pointer.
    let Some(worker) = (unsafe { CURRENT.get().as_ref() }) else { return };
    if worker.flushed.load(Ordering::Relaxed) >= number {
        return;
    }
    run(worker, |recorded| library.contains(&recorded.library.addr()));
    destroy_values(library);
    worker.flushed.store(number, Ordering::Relaxed);
}

/// Destroys what this thread has under the keys of a library.
fn destroy_values(library: &Range<usize>) {
    let keys: Vec<(libc::pthread_key_t, usize)> = {
        let keys = lock(&KEYS);
        keys.iter()
            .filter(|key| library.contains(&key.destructor))
            .map(|key| (key.key, key.destructor))
            .collect()
    };
    for (key, destructor) in keys {
        // SAFETY: the key exists: it is deleted only once its library is gone.
        let value = unsafe { libc::pthread_getspecific(key) };
        if value.is_null() {
            continue;
        }
        // SAFETY: as above.
        unsafe { libc::pthread_setspecific(key, ptr::null()) };
        // SAFETY: the address is the destructor that the key was made with.
        let destructor = unsafe { std::mem::transmute::<usize, Destructor>(destructor) };
        // SAFETY: called once with this thread's value, as the C library would at its end; the library is mapped.
        unsafe { destructor(value) };
    }
}

/// Runs what fits, last one first, until nothing of the kind is left: a destructor may register another one.
fn run(worker: &Worker, fits: impl Fn(&Recorded) -> bool) {
    loop {
        let next = {
            let mut recorded = lock(&worker.recorded);
            recorded.iter().rposition(&fits).map(|place| recorded.remove(place))
        };
        let Some(Recorded { destructor, object, .. }) = next else { return };
        // SAFETY: registered for this object on this thread, run once; its library is still mapped, as it is only
        // unmapped after `flush` found nothing left, and nothing is unmapped while workers end.
        unsafe { destructor(object) };
    }
}

/// In front of glibc's function of this name (see the module's doc).
///
/// # Safety
/// As of glibc's: `destructor` may be called with `object` at the thread's end.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn __cxa_thread_atexit_impl(
    destructor: Destructor,
    object: *mut c_void,
    library: *mut c_void,
) -> i32 {
    let current = CURRENT.get();
    // SAFETY: null, or the record that this thread's guard keeps alive until it clears the pointer.
    if let Some(worker) = unsafe { current.as_ref() } {
        let libraries = LIBRARIES.read().unwrap_or_else(PoisonError::into_inner);
        if libraries.iter().any(|known| known.contains(&library.addr())) {
            lock(&worker.recorded).push(Recorded { destructor, object, library });
            return 0;
        }
    }
    // SAFETY: the arguments are those of our caller.
    unsafe { register_with_glibc(destructor, object, library) }
}

/// In front of glibc's function of this name: records the keys of plugin libraries.
///
/// # Safety
/// As of glibc's: `key` may be written to.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_key_create(
    key: *mut libc::pthread_key_t,
    destructor: Option<Destructor>,
) -> i32 {
    type Create = unsafe extern "C" fn(*mut libc::pthread_key_t, Option<Destructor>) -> i32;
    let Some(next) = next_definition(c"pthread_key_create") else { return libc::ENOSYS };
    // SAFETY: glibc's function of this name has this type.
    let create = unsafe { std::mem::transmute::<*mut c_void, Create>(next) };
    // SAFETY: the arguments are those of our caller.
    let status = unsafe { create(key, destructor) };
    if status != 0 {
        return status;
    }
    // SAFETY: glibc has just written to it.
    let key = unsafe { *key };
    let address = destructor.map_or(0, |destructor| destructor as usize);
    let libraries = LIBRARIES.read().unwrap_or_else(PoisonError::into_inner);
    let is_of_plugin = libraries.iter().any(|known| known.contains(&address));
    let mut keys = lock(&KEYS);
    // A key that is given out is nobody else's any more: its last owner has deleted it, as std does where two threads
    // make one key at once.
    keys.retain(|known| known.key != key);
    if is_of_plugin {
        keys.push(Key { key, destructor: address });
    }
    status
}

/// # Safety
/// As of [`__cxa_thread_atexit_impl`].
unsafe fn register_with_glibc(destructor: Destructor, object: *mut c_void, library: *mut c_void) -> i32 {
    type Register = unsafe extern "C" fn(Destructor, *mut c_void, *mut c_void) -> i32;
    let Some(next) = next_definition(c"__cxa_thread_atexit_impl") else {
        // Before glibc 2.18. A destructor that does not run leaks what it would have freed.
        return -1;
    };
    // SAFETY: glibc's function of this name has this type.
    let register = unsafe { std::mem::transmute::<*mut c_void, Register>(next) };
    // SAFETY: the arguments are those of our caller.
    unsafe { register(destructor, object, library) }
}

/// The definition behind ours.
fn next_definition(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a valid name, looked for in the libraries behind this program.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    (!next.is_null()).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
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
            assert_eq!(RUNS.load(Ordering::SeqCst), 2, "those of one library");
            flush_here(&library, 1);
            assert_eq!(RUNS.load(Ordering::SeqCst), 2, "once");
        })
        .join()
        .unwrap();
        assert_eq!(RUNS.load(Ordering::SeqCst), 3, "what was left ran at the end of the thread");
    }
}
