//! Finds functions that hold a worker thread: they neither end nor wait, so all other work of that worker waits.
//!
//! A worker notes what it polls, and since which tick, in a slot of its own: two atomic stores a poll, and no look at a
//! clock. One thread counts the ticks and looks at the slots.
//!
//! It also wakes the other workers while one is held. tokio has one of them wait for sockets and timers on behalf of all,
//! and a worker that is held may be just that one: the others would sleep on, and the host with them, until it ends (tokio-rs/tokio#4730).

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::base::{FunctionName, Mutex, Tasks};

/// Length of a tick.
const TICK: Duration = Duration::from_millis(50);
/// Age in ticks from which a poll holds its worker: 100 to 150 ms.
const TICKS_MAX: u32 = 3;
/// Shortest time between two warnings of one function.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// The current tick. It begins at 1, so that no poll looks like [`IDLE`].
static NOW: AtomicU32 = AtomicU32::new(1);
static SLOTS: Mutex<Vec<&'static PollSlot>> = Mutex::new(Vec::new());
static ELSEWHERE: PollSlot = PollSlot(AtomicU64::new(IDLE));
static FUNCTIONS: Mutex<WatchedFunctions> =
    Mutex::new(WatchedFunctions { numbers: BTreeMap::new(), watched: Vec::new() });

thread_local! {
    /// The slot of this thread, once it has polled something. Without a destructor, so that reading it is one load.
    static SLOT: Cell<Option<&'static PollSlot>> = const { Cell::new(None) };
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// No plugin code is being polled.
const IDLE: u64 = 0;

/// The poll of one worker: its tick in the upper half, the number of its function in the lower one. On a cache line of
/// its own, as the worker writes to it all the time.
#[derive(Debug, Default)]
#[repr(align(64))]
struct PollSlot(AtomicU64);

/// All functions that there ever were, by a number that is never given to another name.
#[derive(Debug)]
struct WatchedFunctions {
    numbers: BTreeMap<FunctionName, u32>,
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    name: FunctionName,
    held: u64,
    logged: Option<Instant>,
    not_logged: u64,
}

/// A function, as slots name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number(u32);

impl Number {
    /// The number of a function.
    pub(crate) fn of(name: &FunctionName) -> Self {
        let WatchedFunctions { numbers, watched } = &mut *FUNCTIONS.lock();
        let number = *numbers.entry(name.clone()).or_insert_with(|| {
            watched.push(Watched { name: name.clone(), held: 0, logged: None, not_logged: 0 });
            u32::try_from(watched.len() - 1).unwrap_or(u32::MAX)
        });
        Self(number)
    }
}

/// A function is being polled on this thread, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Polling {
    slot: &'static PollSlot,
    /// The outer poll, if that made this call.
    around: u64,
}

impl Polling {
    #[inline]
    pub(crate) fn begin(Number(number): Number) -> Self {
        let slot = SLOT.get().unwrap_or_else(new_slot);
        let around = slot.0.load(Ordering::Relaxed);
        let now = NOW.load(Ordering::Relaxed);
        slot.0.store(u64::from(now) << 32 | u64::from(number), Ordering::Relaxed);
        Self { slot, around }
    }
}

impl Drop for Polling {
    #[inline]
    fn drop(&mut self) {
        self.slot.0.store(self.around, Ordering::Relaxed);
    }
}

/// Returns the function that this thread polls.
pub(crate) fn polled_here() -> Option<FunctionName> {
    let polled = SLOT.get()?.0.load(Ordering::Relaxed);
    let functions = FUNCTIONS.lock();
    let watched = functions.watched.get(polled as u32 as usize).filter(|_| polled != IDLE)?;
    Some(watched.name.clone())
}

/// Makes this thread a worker, whose polls are watched: the first thing that every thread of the host's runtime does.
pub(crate) fn enter_worker() {
    IS_WORKER.set(true);
}

/// Workers are few, and live as long as the process: what one leaves behind is bounded by their number. Threads of the
/// runtime's blocking pool never poll a function. Threads of plugins do, and share a slot that is not looked at.
#[cold]
fn new_slot() -> &'static PollSlot {
    let slot: &'static PollSlot = if IS_WORKER.get() { Box::leak(Box::default()) } else { &ELSEWHERE };
    SLOT.set(Some(slot));
    if IS_WORKER.get() {
        SLOTS.lock().push(slot);
    }
    slot
}

/// Returns how often each function was found to hold a worker, for functions that did.
pub(crate) fn held() -> Vec<(FunctionName, u64)> {
    let functions = FUNCTIONS.lock();
    let watched = functions.watched.iter();
    watched.filter(|watched| watched.held > 0).map(|watched| (watched.name.clone(), watched.held)).collect()
}

/// Returns the number of workers that are held.
pub(crate) fn workers_held() -> usize {
    let now = NOW.load(Ordering::Relaxed);
    SLOTS.lock().iter().filter(|slot| is_older(slot.0.load(Ordering::Relaxed), now, TICKS_MAX)).count()
}

fn is_older(polled: u64, now: u32, ticks: u32) -> bool {
    polled != IDLE && now.wrapping_sub((polled >> 32) as u32) >= ticks
}

/// The thread that watches; it ends when this is dropped.
#[derive(Debug)]
pub struct Watchdog {
    /// True while functions hold all workers.
    all_held: watch::Receiver<bool>,
    _alive: Arc<()>,
}

impl Watchdog {
    /// Begins to watch the workers of a runtime.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start(runtime: Handle) -> std::io::Result<Self> {
        let alive = Arc::new(());
        let watched = Arc::downgrade(&alive);
        let (all_held_tx, all_held) = watch::channel(false);
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            let (mut seen, workers, wake_ups) =
                (HashMap::new(), runtime.metrics().num_workers(), Tasks::default());
            while watched.strong_count() > 0 {
                std::thread::park_timeout(TICK);
                let (all_held, has_long_ones) = look(&mut seen, workers);
                all_held_tx.send_if_modified(|held| std::mem::replace(held, all_held) != all_held);
                if has_long_ones {
                    wake_ups.spawn_on(&runtime, std::future::ready(()));
                }
            }
        })?;
        Ok(Self { all_held, _alive: alive })
    }

    /// Returns what is true while functions hold all workers.
    #[must_use]
    pub fn all_held(&self) -> watch::Receiver<bool> {
        self.all_held.clone()
    }
}

/// One tick. Returns true if functions hold all workers, and if a worker is at something that it began before the last tick.
///
/// `seen` has what each worker was last found to be held by, so that one poll counts once.
fn look(seen: &mut HashMap<usize, u64>, workers: usize) -> (bool, bool) {
    let now = NOW.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let polled: Vec<u64> = SLOTS.lock().iter().map(|slot| slot.0.load(Ordering::Relaxed)).collect();
    let held_for = |ticks: u32| polled.iter().filter(|polled| is_older(**polled, now, ticks)).count();
    let (workers_held, has_long_ones) = (held_for(TICKS_MAX), held_for(2) > 0);
    for (worker, polled) in polled.into_iter().enumerate() {
        if is_older(polled, now, TICKS_MAX) && seen.insert(worker, polled) != Some(polled) {
            note(polled as u32, now.wrapping_sub((polled >> 32) as u32), workers_held, workers);
        }
    }
    (workers_held >= workers, has_long_ones)
}

fn note(number: u32, ticks: u32, workers_held: usize, workers: usize) {
    let mut functions = FUNCTIONS.lock();
    let Some(watched) = functions.watched.get_mut(number as usize) else { return };
    watched.held += 1;
    if watched.logged.is_some_and(|at| at.elapsed() < LOG_PAUSE) {
        watched.not_logged += 1;
        return;
    }
    watched.logged = Some(Instant::now());
    let not_logged = Some(std::mem::take(&mut watched.not_logged)).filter(|count| *count > 0);
    let name = watched.name.clone();
    drop(functions);
    let held_ms = u64::from(ticks) * TICK.as_millis() as u64;
    tracing::warn!(
        function = %name, held_ms, workers_held, workers, not_logged,
        "a function holds a worker thread: it neither ends nor waits, and what else the worker would do waits; let it be \
         `#[on_proxy(blocking)]`, or wait by `.await`"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_that_lasts_counts_once_and_the_one_around_it_goes_on() {
        let name = FunctionName::new("watchdog.tests.holds").unwrap();
        let number = Number::of(&name);
        assert_eq!(Number::of(&name).0, number.0, "a name keeps its number");
        let inner = FunctionName::new("watchdog.tests.inner").unwrap();
        let count =
            |name: &FunctionName| held().into_iter().find(|(known, _)| known == name).map(|(_, held)| held);
        let mut seen = HashMap::new();
        let mut tick = || (0..TICKS_MAX).for_each(|_| _ = look(&mut seen, 1));
        enter_worker();
        let around = Polling::begin(number);
        drop(Polling::begin(Number::of(&inner)));
        tick();
        tick();
        assert_eq!((count(&name), count(&inner)), (Some(1), None));
        let within = Polling::begin(Number::of(&inner));
        tick();
        assert_eq!(count(&inner), Some(1), "the innermost one is named");
        drop(within);
        drop(around);
        let begun = Polling::begin(number);
        drop(begun);
        tick();
        assert_eq!(count(&name), Some(1), "it has ended");
    }

    #[test]
    fn threads_of_plugins_are_no_workers() {
        let name = FunctionName::new("watchdog.tests.elsewhere").unwrap();
        let number = Number::of(&name);
        let held_here = std::thread::spawn(move || {
            let _polling = Polling::begin(number);
            let mut seen = HashMap::new();
            (0..=TICKS_MAX).for_each(|_| _ = look(&mut seen, 1));
            held().into_iter().any(|(known, _)| known == name)
        });
        assert!(!held_here.join().unwrap());
    }
}
