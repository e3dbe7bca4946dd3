//! Limits on how many calls of one kind run at once, and how many wait, first come, first served.
//!
//! A call takes the permits of all its limits at once or none: it holds nothing while it waits, so no call that it waits
//! for can need what it has. Limiters whose permits are taken together share a queue. It is scanned in order, and a call
//! whose limits all have room leaves it; so one limit that is full does not hold up the calls of another.
//!
//! A limit can change while calls run and wait: they stay, and count against the new one.
//!
//! While no call waits, taking a permit and returning it cost one atomic operation each. The queue is locked only if
//! a call needs two permits, finds none, or gives back one that a call waits for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use tokio::sync::oneshot;

use super::{Counter, Mutex};

mod acquire;

/// Stands for no limit.
const UNLIMITED: usize = usize::MAX;

/// The number of calls that run at once, and the number of further ones that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ConcurrencyLimit {
    /// Most that run at once.
    pub in_flight_max: usize,
    /// Most that wait.
    pub queue_max: usize,
}

/// Gives out the permits of one limit.
#[derive(Debug)]
pub struct Limiter {
    in_flight_max: AtomicUsize,
    queue_max: AtomicUsize,
    running: AtomicUsize,
    /// The calls in the queue that found no permit here when they came: `queue_max` bounds them.
    waiting: AtomicUsize,
    /// The calls in the queue that need a permit of this limiter, perhaps among others.
    wanted: AtomicUsize,
    rejected: Counter,
    queue: Arc<WaitQueue>,
}

/// The reason why a call gets no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcquireError {
    /// All are taken, and so is the queue.
    QueueFull,
    /// None was given back before the deadline.
    TimeRanOut,
}

impl Default for Limiter {
    /// Without a limit.
    fn default() -> Self {
        Self::sharing(Arc::default())
    }
}

impl Limiter {
    /// Creates a limiter with a queue of its own.
    pub fn new(limit: ConcurrencyLimit) -> Self {
        let limiter = Self::default();
        limiter.set(Some(limit));
        limiter
    }

    /// Creates a limiter without a limit that shares the queue of this one, so that calls can take permits of both.
    pub fn beside(&self) -> Self {
        Self::sharing(Arc::clone(&self.queue))
    }

    fn sharing(queue: Arc<WaitQueue>) -> Self {
        Self {
            in_flight_max: AtomicUsize::new(UNLIMITED),
            queue_max: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
            rejected: Counter::default(),
            queue,
        }
    }

    /// Returns true if both share a queue.
    pub fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.queue, &other.queue)
    }

    /// Returns true if there is a limit: without one, a call needs no permit.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.in_flight_max.load(Relaxed) < UNLIMITED
    }

    /// Returns the limit, if there is one.
    pub fn limit(&self) -> Option<ConcurrencyLimit> {
        let (in_flight_max, queue_max) = (self.in_flight_max.load(Relaxed), self.queue_max.load(Relaxed));
        (in_flight_max < UNLIMITED).then_some(ConcurrencyLimit { in_flight_max, queue_max })
    }

    /// Changes the limit. Calls that have a permit or wait for one keep it; calls that began without a limit are not
    /// counted.
    pub fn set(&self, limit: Option<ConcurrencyLimit>) {
        let unlimited = ConcurrencyLimit { in_flight_max: UNLIMITED, queue_max: 0 };
        let ConcurrencyLimit { in_flight_max, queue_max } = limit.unwrap_or(unlimited);
        self.queue_max.store(queue_max, Relaxed);
        self.in_flight_max.store(in_flight_max, SeqCst);
        self.grant_if_wanted();
    }

    /// Returns the number of permits that are taken.
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    /// Returns the number of calls that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Returns true if a permit is free.
    pub fn has_room(&self) -> bool {
        self.running.load(Relaxed) < self.in_flight_max.load(Relaxed)
    }

    /// Returns the number of calls that got no permit.
    pub fn rejected(&self) -> u64 {
        self.rejected.get()
    }

    /// Counts a call that does not wait and got no permit.
    pub fn count_rejection(&self) {
        self.rejected.count();
    }

    /// Takes a permit, also beyond the limit: the next calls wait until fewer are taken than it allows.
    #[must_use]
    pub fn acquire_anyway(self: &Arc<Self>) -> Permit {
        self.running.fetch_add(1, SeqCst);
        Permit(Arc::clone(self))
    }

    fn take(&self) -> bool {
        let in_flight_max = self.in_flight_max.load(SeqCst);
        self.running
            .fetch_update(SeqCst, SeqCst, |running| (running < in_flight_max).then_some(running + 1))
            .is_ok()
    }

    /// Hands permits to calls that wait. A call joins the queue by raising `wanted` before it looks at `running`, and
    /// `running` is lowered before this looks at `wanted`: one of the two sees the other.
    fn grant_if_wanted(&self) {
        if self.wanted.load(SeqCst) > 0 {
            self.queue.grant();
        }
    }
}

/// One permit, given back when it drops.
#[derive(Debug)]
pub struct Permit(Arc<Limiter>);

impl Permit {
    /// Returns the limiter that it is of.
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
        self.0.grant_if_wanted();
    }
}

/// The permits of one call: of one limiter or of two.
#[derive(Debug)]
pub struct Permits([Option<Permit>; 2]);

/// The limiters that a call needs a permit of; two of them share a queue.
pub type Needs<'a> = [Option<&'a Arc<Limiter>>; 2];

impl Permits {
    fn taken(needs: Needs<'_>) -> Self {
        Self(needs.map(|need| need.cloned().map(Permit)))
    }
}

/// Calls that wait, for permits of one limiter or of several.
#[derive(Debug, Default)]
struct WaitQueue(Mutex<Waiters>);

#[derive(Debug, Default)]
struct Waiters {
    /// In the order of their tickets.
    waiters: VecDeque<Waiter>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    limiters: [Option<Arc<Limiter>>; 2],
    /// Index of the limiter that had no room.
    full: usize,
    grant: oneshot::Sender<Permits>,
}

impl WaitQueue {
    /// Hands permits to the calls that wait and now have room, in order.
    fn grant(&self) {
        // Without the lock: a call that has gone gives its permits back, which comes here again.
        while let Some((permits, grant)) = self.next() {
            drop(grant.send(permits));
        }
    }

    fn next(&self) -> Option<(Permits, oneshot::Sender<Permits>)> {
        let mut locked = self.0.lock();
        let index = locked.waiters.iter().position(|waiter| take_all(waiter.needs()).is_ok())?;
        let waiter = locked.waiters.remove(index)?;
        waiter.leave();
        Some((Permits::taken(waiter.needs()), waiter.grant))
    }
}

impl Waiter {
    fn needs(&self) -> Needs<'_> {
        self.limiters.each_ref().map(Option::as_ref)
    }

    fn leave(&self) {
        let needs = self.needs();
        unwant(needs);
        if let Some(limiter) = needs[self.full] {
            limiter.waiting.fetch_sub(1, Relaxed);
        }
    }
}

/// Takes a permit of each, or none; fails with the index of the one that has no room. The queue is locked.
fn take_all(needs: Needs<'_>) -> Result<(), usize> {
    let [one, other] = needs;
    if one.is_some_and(|one| !one.take()) {
        return Err(0);
    }
    if other.is_some_and(|other| !other.take()) {
        // A call that finds it taken just now looks again when it has the lock.
        if let Some(one) = one {
            one.running.fetch_sub(1, SeqCst);
        }
        return Err(1);
    }
    Ok(())
}

fn unwant(needs: Needs<'_>) {
    for limiter in needs.into_iter().flatten() {
        limiter.wanted.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests;
