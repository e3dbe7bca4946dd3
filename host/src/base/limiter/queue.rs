//! Calls that wait for permits, of one limiter or of two at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use tokio::sync::oneshot;

use super::{AcquireError, Limiter, Permit};
use crate::base::{Deadline, Mutex, MutexGuard};

/// Calls that wait, for permits of one limiter or of several.
#[derive(Debug, Default)]
pub(super) struct WaitQueue(Mutex<Waiters>);

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

/// The permits of one call: of one limiter or of two.
#[derive(Debug)]
pub struct Permits(pub(super) [Option<Permit>; 2]);

/// The limiters that a call needs a permit of; two of them share a queue.
pub type Needs<'a> = [Option<&'a Arc<Limiter>>; 2];

impl Permits {
    fn taken(needs: Needs<'_>) -> Self {
        Self(needs.map(|need| need.cloned().map(Permit)))
    }

    /// Takes all permits, if all are free.
    #[must_use]
    pub fn try_acquire(needs: Needs<'_>) -> Option<Self> {
        if let [Some(one), None] | [None, Some(one)] = needs
            && one.wanted.load(SeqCst) == 0
            && one.take()
        {
            return Some(Self::taken(needs));
        }
        let Some(queue) = WaitQueue::of(needs) else { return Some(Self([None, None])) };
        let _locked = queue.locked(needs);
        take_all(needs).ok()?;
        Some(Self::taken(needs))
    }

    /// Takes all permits, at once or after waiting in the queue, until the deadline.
    ///
    /// # Errors
    /// [`AcquireError`], and the index of the limiter that had no room.
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue.
    pub async fn acquire(needs: Needs<'_>, deadline: Deadline) -> Result<Self, (usize, AcquireError)> {
        let Some(queue) = WaitQueue::of(needs) else { return Ok(Self([None, None])) };
        let (full, why) = match queue.join(needs) {
            Ok(Joined::Entered(permits)) => return Ok(permits),
            Ok(Joined::Waits(mut place, full)) => {
                match tokio::time::timeout_at(deadline.0.into(), &mut place.granted).await {
                    Ok(Ok(permits)) => return Ok(permits),
                    // A sender stays in the queue until it grants.
                    Ok(Err(_)) | Err(_) => (full, AcquireError::TimeRanOut),
                }
            }
            Err(full) => (full, AcquireError::QueueFull),
        };
        needs[full].into_iter().for_each(|limiter| limiter.count_rejection());
        Err((full, why))
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

enum Joined<'a> {
    Entered(Permits),
    /// It waits, as the limiter of this index has no room.
    Waits(QueuePlace<'a>, usize),
}

/// A place in the queue, left when it drops; permits that were granted meanwhile are given back.
struct QueuePlace<'a> {
    queue: &'a WaitQueue,
    ticket: u64,
    granted: oneshot::Receiver<Permits>,
}

impl WaitQueue {
    fn of<'a>(needs: Needs<'a>) -> Option<&'a Self> {
        let mut limiters = needs.into_iter().flatten();
        let first = limiters.next()?;
        debug_assert!(
            limiters.all(|other| other.is_beside(first)),
            "permits are taken together from one queue"
        );
        Some(&first.queue)
    }

    /// Locks the queue for a call that comes now, after what was given back has gone to those before it.
    fn locked(&self, needs: Needs<'_>) -> MutexGuard<'_, Waiters> {
        needs.into_iter().flatten().for_each(|limiter| limiter.grant_if_wanted());
        self.0.lock()
    }

    /// Takes all permits or joins the queue of the limiter that has no room; fails with its index if that is full.
    fn join(&self, needs: Needs<'_>) -> Result<Joined<'_>, usize> {
        let mut locked = self.locked(needs);
        // First this, then the look: see `Limiter::grant_if_wanted`.
        for limiter in needs.into_iter().flatten() {
            limiter.wanted.fetch_add(1, SeqCst);
        }
        let taken = take_all(needs);
        let full = match taken {
            Err(full) if needs[full].is_some_and(|limiter| limiter.may_wait()) => full,
            _ => {
                unwant(needs);
                return taken.map(|()| Joined::Entered(Permits::taken(needs)));
            }
        };
        if let Some(limiter) = needs[full] {
            limiter.waiting.fetch_add(1, Relaxed);
        }
        let (grant, granted) = oneshot::channel();
        let ticket = locked.next_ticket;
        locked.next_ticket += 1;
        locked.waiters.push_back(Waiter { ticket, limiters: needs.map(|need| need.cloned()), full, grant });
        Ok(Joined::Waits(QueuePlace { queue: self, ticket, granted }, full))
    }

    /// Hands permits to the calls that wait and now have room, in order.
    pub(super) fn grant(&self) {
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

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        let mut locked = self.queue.0.lock();
        if let Ok(index) = locked.waiters.binary_search_by_key(&self.ticket, |waiter| waiter.ticket) {
            locked.waiters.remove(index).iter().for_each(Waiter::leave);
        }
    }
}
