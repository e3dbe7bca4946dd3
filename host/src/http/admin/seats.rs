//! The connections of one admin listener: their number is bounded, and idle ones are evicted for new ones.
//!
//! A connection needs no token to be open: without eviction, silent connections would keep the operator out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::base::Mutex;
use crate::http::accept;

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
    /// It has sent a request.
    spoke: AtomicBool,
    /// Each request that is being answered has a clone.
    busy: Arc<()>,
    evicted: Notify,
}

/// A seat that is taken for as long as this lives.
#[derive(Debug)]
pub(super) struct Taken {
    all: Arc<Seats>,
    pub(super) seat: Arc<Seat>,
    _place: OwnedSemaphorePermit,
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(most)), taken: Mutex::default() })
    }

    /// Takes a seat for a connection that was accepted; nothing if none is free when `stopping` is cancelled.
    pub(super) async fn take(self: &Arc<Self>, stopping: &CancellationToken) -> Option<Taken> {
        let make_room = || {
            self.make_room();
            None
        };
        let place = accept::permit(&self.places, stopping, make_room).await?;
        let seat = Arc::<Seat>::default();
        self.taken.lock().push(Arc::clone(&seat));
        Some(Taken { all: Arc::clone(self), seat, _place: place })
    }

    /// Evicts the oldest connection that has never sent a request, or else the oldest idle one.
    fn make_room(&self) {
        let taken = self.taken.lock();
        let idle = taken.iter().filter(|seat| Arc::strong_count(&seat.busy) == 1);
        if let Some(seat) = idle.min_by_key(|seat| seat.spoke.load(Ordering::Relaxed)) {
            seat.evicted.notify_one();
        }
    }
}

impl Seat {
    /// Begins a request, which is being answered until the returned guard drops.
    pub(super) fn begin(&self) -> Arc<()> {
        self.spoke.store(true, Ordering::Relaxed);
        Arc::clone(&self.busy)
    }

    /// Ends once the connection is to make room.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.all.taken.lock().retain(|seat| !Arc::ptr_eq(seat, &self.seat));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silent_connections_make_room_before_idle_ones_and_busy_ones_stay() {
        let (seats, stopping) = (Seats::new(3), CancellationToken::new());
        let (idle, busy, silent) = (
            seats.take(&stopping).await.unwrap(),
            seats.take(&stopping).await.unwrap(),
            seats.take(&stopping).await.unwrap(),
        );
        drop(idle.seat.begin());
        let _request = busy.seat.begin();
        let mut next = std::pin::pin!(seats.take(&stopping));
        assert!(next.as_mut().now_or_never().is_none());
        silent.seat.evicted().await;
        drop(silent);
        let fourth = next.await.unwrap();
        let _request = fourth.seat.begin();
        let mut next = std::pin::pin!(seats.take(&stopping));
        assert!(next.as_mut().now_or_never().is_none());
        idle.seat.evicted().await;
        drop(idle);
        assert!(next.await.is_some());
        assert!(busy.seat.evicted().now_or_never().is_none());
    }
}
