//! The connections of one admin listener: their number is bounded, and idle ones are evicted for new ones.
//!
//! A connection needs no token to be open: without eviction, silent connections would keep the operator out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::base::{Mutex, MutexGuard};

/// Interval between evictions while a connection waits for a seat.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// All seats of one listener.
#[derive(Debug)]
pub(super) struct Seats {
    places: Arc<Semaphore>,
    /// The seats in use, the oldest first.
    taken: Mutex<Vec<Arc<Seat>>>,
}

/// The seat of one connection.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// Requests that were begun.
    begun: AtomicUsize,
    /// Requests that were answered.
    answered: AtomicUsize,
    evicted: Notify,
}

/// A seat that is taken for as long as this lives.
#[derive(Debug)]
pub(super) struct Taken {
    all: Arc<Seats>,
    seat: Arc<Seat>,
    _place: OwnedSemaphorePermit,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Request(Arc<Seat>);

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(most)), taken: Mutex::default() })
    }

    /// Takes a seat for a connection that was accepted; nothing once there are no seats any more.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Taken> {
        let mut place = Arc::clone(&self.places).try_acquire_owned().ok();
        while place.is_none() {
            self.make_room();
            // All may have been busy, or slow to go.
            let waited = tokio::time::timeout(LOOK_AGAIN, Arc::clone(&self.places).acquire_owned());
            place = match waited.await {
                Ok(place) => Some(place.ok()?),
                Err(_) => None,
            };
        }
        let seat = Arc::<Seat>::default();
        self.taken().push(Arc::clone(&seat));
        Some(Taken { all: Arc::clone(self), seat, _place: place? })
    }

    /// Evicts the oldest connection that has never sent a request, or else the oldest idle one.
    fn make_room(&self) {
        let taken = self.taken();
        let idle = taken.iter().filter(|seat| !seat.is_busy());
        if let Some(seat) = idle.min_by_key(|seat| seat.begun.load(Ordering::Relaxed) > 0) {
            seat.evicted.notify_one();
        }
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.taken.lock()
    }
}

impl Seat {
    fn is_busy(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > self.answered.load(Ordering::Relaxed)
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Request {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Request(Arc::clone(self))
    }

    /// Ends once the connection is to make room.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Taken {
    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.all.taken().retain(|seat| !Arc::ptr_eq(seat, &self.seat));
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silent_connections_make_room_before_idle_ones_and_busy_ones_stay() {
        let seats = Seats::new(3);
        let (idle, busy, silent) =
            (seats.take().await.unwrap(), seats.take().await.unwrap(), seats.take().await.unwrap());
        drop(idle.seat().begin());
        let _request = busy.seat().begin();
        let mut next = std::pin::pin!(seats.take());
        assert!(next.as_mut().now_or_never().is_none());
        silent.seat().evicted().await;
        drop(silent);
        let fourth = next.await.unwrap();
        let _request = fourth.seat().begin();
        let mut next = std::pin::pin!(seats.take());
        assert!(next.as_mut().now_or_never().is_none());
        idle.seat().evicted().await;
        drop(idle);
        assert!(next.await.is_some());
        assert!(busy.seat().evicted().now_or_never().is_none());
    }
}
