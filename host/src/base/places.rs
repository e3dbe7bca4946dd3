//! Places: how many calls of one kind run at once, and how many wait for one, first come, first served.
//!
//! A limit can change while calls run and wait: they stay, and count against the new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::lock::Mutex;
use super::{Counter, Deadline};

/// So many places are as good as no limit, and can be added up without an overflow.
const UNLIMITED: usize = Semaphore::MAX_PERMITS / 2;

/// How many run at once, and how many more wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceLimit {
    /// Most that run at once.
    pub in_flight_max: usize,
    /// Most that wait.
    pub queue_max: usize,
}

/// The places of one kind of calls.
#[derive(Debug)]
pub struct Places {
    free: Semaphore,
    in_flight_max: AtomicUsize,
    queue_max: AtomicUsize,
    /// Places that are taken away as soon as those who have them give them back: the limit was lowered.
    surplus: AtomicUsize,
    waiting: AtomicUsize,
    reached: Counter,
    /// Held while the limit changes.
    changing: Mutex<()>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// All are taken, and so is the queue.
    Full,
    /// None came free before the deadline.
    TimeRanOut,
}

impl Default for Places {
    /// Without a limit.
    fn default() -> Self {
        Self {
            free: Semaphore::new(UNLIMITED),
            in_flight_max: AtomicUsize::new(UNLIMITED),
            queue_max: AtomicUsize::new(0),
            surplus: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            reached: Counter::default(),
            changing: Mutex::new(()),
        }
    }
}

impl Places {
    /// So many.
    #[must_use]
    pub fn new(limit: PlaceLimit) -> Self {
        let places = Self::default();
        places.set(Some(limit));
        places
    }

    /// Whether there is a limit: a call need not take a place without one.
    #[inline]
    #[must_use]
    pub fn are_limited(&self) -> bool {
        self.in_flight_max.load(Ordering::Relaxed) < UNLIMITED
    }

    /// The limit, if there is one.
    #[must_use]
    pub fn limit(&self) -> Option<PlaceLimit> {
        let in_flight_max = self.in_flight_max.load(Ordering::Relaxed);
        let queue_max = self.queue_max.load(Ordering::Relaxed);
        (in_flight_max < UNLIMITED).then_some(PlaceLimit { in_flight_max, queue_max })
    }

    /// Changes the limit. Those who have a place or wait for one keep it; those who began without a limit are not
    /// counted.
    pub fn set(&self, limit: Option<PlaceLimit>) {
        let unlimited = PlaceLimit { in_flight_max: UNLIMITED, queue_max: 0 };
        let PlaceLimit { in_flight_max, queue_max } = limit.unwrap_or(unlimited);
        let in_flight_max = in_flight_max.min(UNLIMITED);
        let _changing = self.changing.lock();
        self.queue_max.store(queue_max, Ordering::Relaxed);
        let before = self.in_flight_max.swap(in_flight_max, Ordering::Relaxed);
        if in_flight_max < before {
            // First owed, then paid from what is free: what comes back meanwhile pays as well.
            self.surplus.fetch_add(before - in_flight_max, Ordering::AcqRel);
            let taken_away = self.free.forget_permits(before - in_flight_max);
            self.free.add_permits(taken_away - self.pay(taken_away));
        } else {
            let more = in_flight_max - before;
            self.free.add_permits(more - self.pay(more));
        }
    }

    /// How many run; of those that began without a limit, none.
    #[must_use]
    pub fn running(&self) -> usize {
        let places = self.in_flight_max.load(Ordering::Relaxed) + self.surplus.load(Ordering::Relaxed);
        places.saturating_sub(self.free.available_permits())
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How often there was no place.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.reached.get()
    }

    /// A place, if one is free and nobody waits for it.
    #[must_use]
    pub fn try_enter(self: &Arc<Self>) -> Option<Place> {
        self.free.try_acquire().ok()?.forget();
        Some(Place(Arc::clone(self)))
    }

    /// A place, also beyond the limit: what comes back afterwards is taken away until there are no more than it allows.
    #[must_use]
    pub fn enter_anyway(self: &Arc<Self>) -> Place {
        match self.free.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) => drop(self.surplus.fetch_add(1, Ordering::AcqRel)),
        }
        Place(Arc::clone(self))
    }

    /// A place, at once or after waiting in the queue, until the deadline.
    ///
    /// # Errors
    /// [`NoPlace`].
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue.
    pub async fn enter(self: &Arc<Self>, deadline: Deadline) -> Result<Place, NoPlace> {
        if let Some(place) = self.try_enter() {
            return Ok(place);
        }
        let entered = self.wait(deadline).await;
        entered.inspect_err(|_| self.reached.count())
    }

    /// Counts that there was no place for one who did not wait.
    pub fn refuse(&self) {
        self.reached.count();
    }

    async fn wait(self: &Arc<Self>, deadline: Deadline) -> Result<Place, NoPlace> {
        let _waiting = Waiting::join(&self.waiting, self.queue_max.load(Ordering::Relaxed))?;
        match tokio::time::timeout_at(deadline.0.into(), self.free.acquire()).await {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(Place(Arc::clone(self)))
            }
            // Nobody closes the semaphore.
            Ok(Err(_)) => Err(NoPlace::Full),
            Err(_) => Err(NoPlace::TimeRanOut),
        }
    }

    /// Pays up to `places` of what is owed; answers how many that were.
    fn pay(&self, places: usize) -> usize {
        let paid = self.surplus.fetch_update(Ordering::AcqRel, Ordering::Acquire, |surplus| {
            (surplus > 0).then(|| surplus.saturating_sub(places))
        });
        paid.map_or(0, |surplus| surplus.min(places))
    }
}

/// One place, given back when it drops.
#[derive(Debug)]
pub struct Place(Arc<Places>);

impl Place {
    /// The places that it is one of.
    #[must_use]
    pub fn places(&self) -> &Arc<Places> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.pay(1) == 0 {
            self.0.free.add_permits(1);
        }
    }
}

/// The limits whose places a call has by way of the calls that it is made within.
///
/// Such a call must not wait for another one of the same places: it might be what it waits for.
#[derive(Debug, Clone, Default)]
pub struct HeldPlaces(Option<Arc<Held>>);

#[derive(Debug)]
struct Held {
    places: Arc<Places>,
    before: HeldPlaces,
}

impl HeldPlaces {
    /// These, and one more.
    #[must_use]
    pub fn with(&self, places: &Arc<Places>) -> Self {
        Self(Some(Arc::new(Held { places: Arc::clone(places), before: self.clone() })))
    }

    /// Whether one of these is among them.
    #[must_use]
    pub fn have(&self, places: &Arc<Places>) -> bool {
        let mut held = &self.0;
        while let Some(one) = held {
            if Arc::ptr_eq(&one.places, places) {
                return true;
            }
            held = &one.before.0;
        }
        false
    }
}

/// One place in the queue, given back when it drops.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize, max: usize) -> Result<Self, NoPlace> {
        let joined = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting < max).then_some(waiting + 1)
        });
        // Only one that joined may be made: its drop leaves the queue.
        if joined.is_ok() { Ok(Self(count)) } else { Err(NoPlace::Full) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
