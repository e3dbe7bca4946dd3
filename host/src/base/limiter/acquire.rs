//! Takes the permits of a call, of one limiter or of two at once, or waits for them in the queue.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use tokio::sync::oneshot;

use super::{AcquireError, Limiter, Needs, Permit, Permits, WaitQueue, Waiter, Waiters, take_all, unwant};
use crate::base::{Deadline, MutexGuard};

impl Limiter {
    /// Takes a permit, if one is free.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        if self.wanted.load(SeqCst) == 0 && self.take() {
            return Some(Permit(Arc::clone(self)));
        }
        let Permits([permit, _]) = Permits::try_acquire([Some(self), None])?;
        permit
    }

    /// Takes a permit, at once or after waiting in the queue, until the deadline.
    ///
    /// # Errors
    /// [`AcquireError`].
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue.
    pub async fn acquire(self: &Arc<Self>, deadline: Deadline) -> Result<Permit, AcquireError> {
        if let Some(permit) = self.try_acquire() {
            return Ok(permit);
        }
        match Permits::acquire([Some(self), None], deadline).await {
            Ok(Permits([Some(permit), _])) => Ok(permit),
            // It was asked for, so there is one.
            Ok(Permits([None, _])) => Ok(self.acquire_anyway()),
            Err((_, why)) => Err(why),
        }
    }

    /// Returns true if one more call may join the queue.
    fn may_wait(&self) -> bool {
        self.waiting() < self.queue_max.load(Relaxed)
    }
}

impl Permits {
    /// Takes all permits, if all are free.
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
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        let mut locked = self.queue.0.lock();
        if let Ok(index) = locked.waiters.binary_search_by_key(&self.ticket, |waiter| waiter.ticket) {
            locked.waiters.remove(index).iter().for_each(Waiter::leave);
        }
    }
}
