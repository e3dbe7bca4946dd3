//! The activity of one connection: requests in flight, and responses that the client is reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::meters::Limit;
use super::strangers::{OfConnection, Strangers};
use crate::base::milliseconds;

/// A response is given up when the client has read nothing of it for this many ticks.
const TICKS: usize = 4;
/// Shortest interval between two looks at a connection.
const LOOK_MIN: Duration = Duration::from_millis(10);
/// Time after which a connection counts as idle.
const RECENT: Duration = Duration::from_secs(1);

/// The time limits of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// For the head of a request; of the first one, since the connection was accepted.
    pub(crate) header: Duration,
    /// To do nothing after a request.
    pub(crate) idle: Duration,
    /// To read nothing of a response.
    pub(crate) write: Duration,
}

/// The activity of a connection. It has no locks, and its size does not depend on the number of responses.
#[derive(Debug)]
pub(crate) struct Activity {
    /// When the listener began; times are milliseconds since then.
    begun: Instant,
    /// It has sent a request.
    spoke: AtomicBool,
    /// Something was read since the head of a request is awaited.
    heard: AtomicBool,
    /// Requests in flight: the client has not read the whole response.
    busy: AtomicUsize,
    /// Requests in flight without a response so far.
    answering: AtomicUsize,
    /// Counts up while the connection is open, [`TICKS`] times within the time to take something.
    tick: AtomicUsize,
    /// Number of responses by the tick in which the client last read some of them, modulo their number.
    progressed_in: [AtomicUsize; TICKS + 1],
    /// When a request or an answer last went on.
    touched_ms: AtomicU64,
    /// Bytes that were read in this turn; a turn begins with each poll of the stream's reader.
    pub(crate) turn_bytes: AtomicUsize,
    /// The cost of its requests as long as they are a stranger's.
    pub(crate) strangers: OfConnection,
    evicted: Notify,
}

/// A request, from its complete head until its response was handed to the system, or the client has gone.
#[derive(Debug)]
pub(crate) struct InFlight {
    activity: Arc<Activity>,
    /// Nothing while there is no answer, then the tick in which something of it was taken last.
    progressed_in: Option<usize>,
    /// It is counted among the requests of strangers.
    is_counted: AtomicBool,
}

/// A request of a stranger whose body is awaited, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Awaiting<'a> {
    activity: &'a Activity,
    bytes: usize,
}

/// Eviction order: lowest class first, then least recently used.
pub(crate) type EvictionRank = (u8, u64);

impl Activity {
    pub(crate) fn new(begun: Instant, strangers: Arc<Strangers>) -> Self {
        Self {
            begun,
            spoke: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
            tick: AtomicUsize::new(0),
            progressed_in: Default::default(),
            touched_ms: AtomicU64::new(milliseconds(begun.elapsed())),
            turn_bytes: AtomicUsize::new(0),
            strangers: OfConnection::new(strangers),
            evicted: Notify::new(),
        }
    }

    /// Begins a request.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.answering.fetch_add(1, Ordering::Relaxed);
        self.spoke.store(true, Ordering::Relaxed);
        let busy =
            InFlight { activity: Arc::clone(self), progressed_in: None, is_counted: AtomicBool::new(false) };
        busy.count();
        busy
    }

    /// Notes that the head of a request is awaited from now on.
    pub(crate) fn listens(&self) {
        self.heard.store(false, Ordering::Relaxed);
    }

    /// Notes that something was read.
    pub(crate) fn hears(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Returns true if the head that is awaited has begun. From then on, the connection is not idle.
    pub(crate) fn has_heard(&self) -> bool {
        let has_heard = self.heard.load(Ordering::Relaxed);
        if has_heard && self.spoke.load(Ordering::Relaxed) {
            self.touch();
        }
        has_heard
    }

    /// Ends when the connection was idle for too long, or reads nothing of a response, or is evicted; returns the limit
    /// that acted.
    pub(crate) async fn outlived(&self, times: Times) -> Limit {
        let tick = (times.write / TICKS as u32).max(LOOK_MIN);
        // What happens meanwhile does not wake this.
        let look = tick.min(times.header).min(times.idle).max(LOOK_MIN);
        let mut ticked = Instant::now();
        loop {
            let (spoke, heard) = (self.spoke.load(Ordering::Relaxed), self.heard.load(Ordering::Relaxed));
            let (limit, most) = match (spoke, heard) {
                (false, _) => (Limit::HeaderTime, times.header),
                (true, false) => (Limit::IdleTime, times.idle),
                // Another head has begun, and has a time of its own (`HeadTime`).
                (true, true) => (Limit::HeaderTime, times.header.max(times.idle)),
            };
            let is_busy = self.busy.load(Ordering::Relaxed) > 0;
            let left = if is_busy { most } else { most.saturating_sub(self.untouched(Instant::now())) };
            if left.is_zero() {
                return limit;
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(look)) => {}
                () = self.evicted() => return Limit::Connections,
            }
            if ticked.elapsed() >= tick {
                ticked = Instant::now();
                if !self.next_tick() {
                    return Limit::WriteTime;
                }
            }
        }
    }

    /// Ends when the connection has had no request for `most`.
    pub(crate) async fn unused(&self, most: Duration) {
        loop {
            tokio::time::sleep(most).await;
            if self.busy.load(Ordering::Relaxed) == 0 && self.untouched(Instant::now()) >= most {
                return;
            }
        }
    }

    /// Begins the next tick, unless something of an answer was last taken in the one whose place it would use.
    fn next_tick(&self) -> bool {
        let next = self.tick.load(Ordering::Relaxed).wrapping_add(1);
        if self.place(next).load(Ordering::Relaxed) > 0 {
            return false;
        }
        self.tick.store(next, Ordering::Relaxed);
        true
    }

    fn place(&self, tick: usize) -> &AtomicUsize {
        &self.progressed_in[tick % (TICKS + 1)]
    }

    /// Returns its rank in the order of eviction: silent connections, connections that only await bodies of strangers, idle
    /// connections of strangers, other idle connections, clients that do not read. `None` while another request is being
    /// answered.
    pub(crate) fn eviction_rank(&self, now: Instant) -> Option<EvictionRank> {
        let is_recent = self.untouched(now) < RECENT;
        let answering = self.answering.load(Ordering::Relaxed);
        let (awaited, since_ms) = self.strangers.awaited();
        let kind = if self.busy.load(Ordering::Relaxed) == 0 {
            // A connection that has just come has not had the time to say anything.
            match (is_recent || self.spoke.load(Ordering::Relaxed), self.strangers.are_known()) {
                (false, _) => 0,
                (true, false) => 2,
                (true, true) => 3,
            }
        } else if answering == 0 && !is_recent {
            4
        } else if answering > 0 && answering == awaited && self.since(since_ms, now) >= RECENT {
            // Other requests meanwhile do not save it.
            return Some((1, since_ms)).filter(|_| self.strangers.requests().is_some());
        } else {
            return None;
        };
        Some((kind, self.touched_ms.load(Ordering::Relaxed)))
    }

    /// Makes the connection end.
    pub(crate) fn evict(&self) {
        // Not chosen again before its task is gone, if there is another one.
        self.touched_ms.store(u64::MAX, Ordering::Relaxed);
        self.strangers.leave();
        self.evicted.notify_one();
    }

    /// Ends once the connection is evicted.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Notes that something happened.
    pub(crate) fn touch(&self) {
        self.touched_ms.store(milliseconds(self.begun.elapsed()), Ordering::Relaxed);
    }

    fn untouched(&self, now: Instant) -> Duration {
        self.since(self.touched_ms.load(Ordering::Relaxed), now)
    }

    fn since(&self, moment_ms: u64, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun).saturating_sub(Duration::from_millis(moment_ms))
    }
}

impl InFlight {
    /// The request has shown a key, or a certificate that names a caller: its connection stops counting as a stranger's.
    pub(crate) fn known(&self) {
        self.activity.strangers.know();
        self.uncount();
    }

    /// Returns true if the connection has shown no key and no certificate of a caller.
    pub(crate) fn is_strangers(&self) -> bool {
        !self.activity.strangers.are_known()
    }

    /// The body of a stranger's request is awaited from now on.
    pub(crate) fn awaits(&self) -> Awaiting<'_> {
        let activity = &*self.activity;
        activity.strangers.begin_to_await(milliseconds(activity.begun.elapsed()));
        Awaiting { activity, bytes: 0 }
    }

    fn count(&self) {
        if self.is_strangers() && !self.is_counted.swap(true, Ordering::Relaxed) {
            self.activity.strangers.enter();
        }
    }

    /// Stops counting the request as a stranger's: it holds a permit of a call, and permits are bounded as well.
    pub(crate) fn uncount(&self) {
        if self.is_counted.swap(false, Ordering::Relaxed) {
            self.activity.strangers.exit();
        }
    }

    /// Notes that the response exists, for the client to read.
    pub(crate) fn answered(&mut self) {
        self.count();
        let tick = self.activity.tick.load(Ordering::Relaxed);
        self.activity.place(tick).fetch_add(1, Ordering::Relaxed);
        self.progressed_in = Some(tick);
        self.activity.touch();
        self.activity.answering.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes that the client has read a part of the response.
    pub(crate) fn progressed(&mut self) {
        let now = self.activity.tick.load(Ordering::Relaxed);
        if let Some(before) = self.progressed_in.replace(now)
            && before != now
        {
            self.activity.place(now).fetch_add(1, Ordering::Relaxed);
            self.activity.place(before).fetch_sub(1, Ordering::Relaxed);
        }
        self.activity.touch();
    }
}

impl Awaiting<'_> {
    /// Notes the number of bytes of the body that have arrived so far.
    pub(crate) fn has(&mut self, bytes: usize) {
        let new = bytes - self.bytes;
        self.bytes = bytes;
        self.activity.strangers.arrived(new);
    }
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.activity.strangers.cease_to_await(self.bytes);
        self.activity.touch();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.uncount();
        let activity = &self.activity;
        match self.progressed_in {
            Some(tick) => activity.place(tick).fetch_sub(1, Ordering::Relaxed),
            None => activity.answering.fetch_sub(1, Ordering::Relaxed),
        };
        activity.touch();
        activity.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const LONG: Times = Times { header: MINUTE, idle: MINUTE, write: MINUTE };

    /// On which nothing happened for ten seconds.
    fn quiet() -> Arc<Activity> {
        let begun = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let activity = Arc::new(Activity::new(begun, Arc::default()));
        activity.touched_ms.store(0, Ordering::Relaxed);
        activity
    }

    #[test]
    fn those_who_are_missed_least_make_room() {
        let silent = quiet();
        let idle = quiet();
        drop(idle.begin());
        let new = Activity::new(Instant::now(), Arc::default());
        let known = quiet();
        known.begin().known();
        let waiting = quiet();
        let [first, second] = [waiting.begin(), waiting.begin()];
        let _awaited = (first.awaits(), second.awaits());
        assert_eq!(waiting.eviction_rank(Instant::now()), None, "both bodies have just begun");
        let taking = quiet();
        let mut busy = taking.begin();
        assert_eq!(taking.eviction_rank(Instant::now()), None, "it is being answered");
        busy.answered();
        assert_eq!(taking.eviction_rank(Instant::now()), None, "it has just been answered");
        taking.touched_ms.store(0, Ordering::Relaxed);
        let later = Instant::now() + RECENT;
        assert_eq!(waiting.eviction_rank(later).unwrap().0, 1);
        let kind = |activity: &Activity| activity.eviction_rank(Instant::now()).unwrap().0;
        let kinds = [&silent, &idle, &known, &taking].map(|activity| kind(activity));
        assert_eq!((kinds, kind(&new)), ([0, 2, 3, 4], 2));
        let _third = waiting.begin();
        assert_eq!(waiting.eviction_rank(later), None, "another one is being answered");
        busy.progressed();
        assert_eq!(taking.eviction_rank(Instant::now()), None, "something was taken");
        drop(busy);
        assert_eq!(kind(&taking), 2);
    }

    #[tokio::test]
    async fn whoever_makes_room_ends() {
        let activity = quiet();
        activity.evict();
        assert_eq!(activity.outlived(LONG).await, Limit::Connections);
    }

    #[test]
    fn each_answer_must_go_on() {
        let activity = quiet();
        let [mut goes_on, mut stuck] = [activity.begin(), activity.begin()];
        for _ in 0..20 {
            assert!(activity.next_tick(), "a request that is being answered is not judged");
        }
        goes_on.answered();
        for _ in 0..20 {
            assert!(activity.next_tick());
            goes_on.progressed();
        }
        stuck.answered();
        for _ in 0..TICKS {
            assert!(activity.next_tick());
            goes_on.progressed();
        }
        assert!(!activity.next_tick());
        drop((goes_on, stuck));
        assert!(activity.next_tick());
        assert!(activity.progressed_in.iter().all(|place| place.load(Ordering::Relaxed) == 0));
        assert_eq!(activity.busy.load(Ordering::Relaxed), 0);
        assert_eq!(activity.answering.load(Ordering::Relaxed), 0);
    }
}
