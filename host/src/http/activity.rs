//! What one connection is doing: requests that are being answered, and answers that are being taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Limit;

/// An answer is given up when nothing of it was taken between so many turns.
const TURNS: usize = 4;
/// Connections are not looked at more often, however short their times are.
const LOOK_MIN: Duration = Duration::from_millis(10);
/// So long after something happened, a connection is not one that does nothing, whatever else is open.
const RECENT: Duration = Duration::from_secs(1);

/// How long a client may take for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// For the head of the first request.
    pub(super) header: Duration,
    /// To do nothing after a request.
    pub(super) idle: Duration,
    /// To take nothing of an answer.
    pub(super) write: Duration,
}

/// What a connection is doing. Nothing in it is locked, and its size is fixed however many answers are on their way.
#[derive(Debug)]
pub(super) struct Activity {
    /// When the listener began; moments are told in milliseconds since then.
    begun: Instant,
    /// Whether it has brought a request.
    spoke: AtomicBool,
    /// Requests whose answer is not taken to its end.
    busy: AtomicUsize,
    /// Those of them that have no answer yet.
    answering: AtomicUsize,
    /// Counts up while the connection is open, [`TURNS`] times within the time to take something.
    turn: AtomicUsize,
    /// Answers by the turn in which something of them was taken last. A turn's place is used again after all others.
    taken_in: [AtomicUsize; TURNS + 1],
    /// When a request or an answer last went on.
    touched_ms: AtomicU64,
    evicted: Notify,
}

/// A request, from when its head is there until its answer was handed to the system, or nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Arc<Activity>,
    /// Nothing while there is no answer, then the turn in which something of it was taken last.
    taken_in: Option<usize>,
}

/// How readily a connection is ended for another one: the least goes first, and the longest untouched one of those.
pub(super) type Worth = (u8, u64);

impl Activity {
    pub(super) fn new(begun: Instant) -> Self {
        Self {
            begun,
            spoke: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            taken_in: Default::default(),
            touched_ms: AtomicU64::new(milliseconds(begun.elapsed())),
            evicted: Notify::new(),
        }
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.answering.fetch_add(1, Ordering::Relaxed);
        self.spoke.store(true, Ordering::Relaxed);
        Busy { activity: Arc::clone(self), taken_in: None }
    }

    /// Ends when the connection has done nothing for too long, or takes nothing of an answer, or is to make room: the
    /// limit that acted.
    pub(super) async fn outlived(&self, times: Times) -> Limit {
        let turn = (times.write / TURNS as u32).max(LOOK_MIN);
        // What happens meanwhile does not wake this.
        let look = turn.min(times.header).min(times.idle).max(LOOK_MIN);
        let mut turned = Instant::now();
        loop {
            let (limit, most) = match self.spoke.load(Ordering::Relaxed) {
                false => (Limit::HeaderTime, times.header),
                true => (Limit::IdleTime, times.idle),
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
            if turned.elapsed() >= turn {
                turned = Instant::now();
                if !self.next_turn() {
                    return Limit::WriteTime;
                }
            }
        }
    }

    /// Ends when the connection has had no request for so long.
    pub(super) async fn unused(&self, most: Duration) {
        loop {
            tokio::time::sleep(most).await;
            if self.busy.load(Ordering::Relaxed) == 0 && self.untouched(Instant::now()) >= most {
                return;
            }
        }
    }

    /// Begins the next turn, unless something of an answer was last taken in the one whose place it would use.
    fn next_turn(&self) -> bool {
        let next = self.turn.load(Ordering::Relaxed).wrapping_add(1);
        if self.place(next).load(Ordering::Relaxed) > 0 {
            return false;
        }
        self.turn.store(next, Ordering::Relaxed);
        true
    }

    fn place(&self, turn: usize) -> &AtomicUsize {
        &self.taken_in[turn % (TURNS + 1)]
    }

    /// How readily it makes room: first those that have never said anything, then those that do nothing, then those
    /// that take nothing. A connection on which a request is being answered does not.
    pub(super) fn worth(&self, now: Instant) -> Option<Worth> {
        let is_recent = self.untouched(now) < RECENT;
        let kind = if self.busy.load(Ordering::Relaxed) == 0 {
            // Whoever has just come has not had the time to say anything.
            u8::from(is_recent || self.spoke.load(Ordering::Relaxed))
        } else if self.answering.load(Ordering::Relaxed) == 0 && !is_recent {
            2
        } else {
            return None;
        };
        Some((kind, self.touched_ms.load(Ordering::Relaxed)))
    }

    /// Has the connection end.
    pub(super) fn evict(&self) {
        // Not chosen again before its task is gone, if there is another one.
        self.touched_ms.store(u64::MAX, Ordering::Relaxed);
        self.evicted.notify_one();
    }

    /// Ends once the connection is to make room.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    fn touch(&self) {
        self.touched_ms.store(milliseconds(self.begun.elapsed()), Ordering::Relaxed);
    }

    fn untouched(&self, now: Instant) -> Duration {
        let touched = Duration::from_millis(self.touched_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.begun).saturating_sub(touched)
    }
}

impl Busy {
    /// The answer is there, and is to be taken.
    pub(super) fn answered(&mut self) {
        let turn = self.activity.turn.load(Ordering::Relaxed);
        self.activity.place(turn).fetch_add(1, Ordering::Relaxed);
        self.taken_in = Some(turn);
        self.activity.touch();
        self.activity.answering.fetch_sub(1, Ordering::Relaxed);
    }

    /// Something of the answer was taken.
    pub(super) fn took(&mut self) {
        let now = self.activity.turn.load(Ordering::Relaxed);
        if let Some(before) = self.taken_in.replace(now)
            && before != now
        {
            self.activity.place(now).fetch_add(1, Ordering::Relaxed);
            self.activity.place(before).fetch_sub(1, Ordering::Relaxed);
        }
        self.activity.touch();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let activity = &self.activity;
        match self.taken_in {
            Some(turn) => activity.place(turn).fetch_sub(1, Ordering::Relaxed),
            None => activity.answering.fetch_sub(1, Ordering::Relaxed),
        };
        activity.touch();
        activity.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const LONG: Times = Times { header: MINUTE, idle: MINUTE, write: MINUTE };

    /// On which nothing happened for ten seconds.
    fn quiet() -> Arc<Activity> {
        let begun = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let activity = Arc::new(Activity::new(begun));
        activity.touched_ms.store(0, Ordering::Relaxed);
        activity
    }

    #[test]
    fn those_who_are_missed_least_make_room() {
        let silent = quiet();
        let idle = quiet();
        drop(idle.begin());
        let new = Activity::new(Instant::now());
        let taking = quiet();
        let mut busy = taking.begin();
        assert_eq!(taking.worth(Instant::now()), None, "it is being answered");
        busy.answered();
        assert_eq!(taking.worth(Instant::now()), None, "it has just been answered");
        taking.touched_ms.store(0, Ordering::Relaxed);
        let kinds = [&silent, &idle, &new, &taking].map(|activity| activity.worth(Instant::now()).unwrap().0);
        assert_eq!(kinds, [0, 1, 1, 2]);
        busy.took();
        assert_eq!(taking.worth(Instant::now()), None, "something was taken");
        drop(busy);
        assert_eq!(taking.worth(Instant::now()).unwrap().0, 1);
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
            assert!(activity.next_turn(), "a request that is being answered is not judged");
        }
        goes_on.answered();
        for _ in 0..20 {
            assert!(activity.next_turn());
            goes_on.took();
        }
        stuck.answered();
        for _ in 0..TURNS {
            assert!(activity.next_turn());
            goes_on.took();
        }
        assert!(!activity.next_turn());
        drop((goes_on, stuck));
        assert!(activity.next_turn());
        assert!(activity.taken_in.iter().all(|place| place.load(Ordering::Relaxed) == 0));
        assert_eq!(activity.busy.load(Ordering::Relaxed), 0);
        assert_eq!(activity.answering.load(Ordering::Relaxed), 0);
    }
}
