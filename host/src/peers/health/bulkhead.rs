//! Limits the calls that run at one peer, and the calls that wait for it to come back: a slow or absent peer holds up
//! no other call.
//!
//! It outlives the other parts of a peer: a reload that keeps the URL keeps it.

use std::sync::Arc;

use crate::base::{ConcurrencyLimit, Limiter, Permit};

/// The permits of one peer.
#[derive(Debug, Default)]
pub struct Bulkhead {
    in_flight: Arc<Limiter>,
    waiting: Arc<Limiter>,
}

impl Bulkhead {
    /// Sets the number of calls that may run there at once. As many may wait, since that is what the peer can take at
    /// once when it is back.
    pub fn set(&self, in_flight_max: usize) {
        let limit = Some(ConcurrencyLimit { in_flight_max, queue_max: 0 });
        for limiter in [&self.in_flight, &self.waiting] {
            if limiter.limit() != limit {
                limiter.set(limit);
            }
        }
    }

    /// The maximum number of calls that run there at once; nothing without a limit.
    pub fn in_flight_max(&self) -> Option<usize> {
        self.in_flight.limit().map(|limit| limit.in_flight_max)
    }

    /// The number of calls that run there.
    pub fn running(&self) -> usize {
        self.in_flight.running()
    }

    /// The number of calls that wait for it to come back.
    pub fn waiting(&self) -> usize {
        self.waiting.running()
    }

    /// Returns true if another call may run there.
    pub fn has_room(&self) -> bool {
        self.in_flight_max().is_none_or(|most| self.running() < most)
    }

    /// Admits a call that runs there, if the limit allows.
    #[must_use]
    pub fn acquire(&self) -> Option<Permit> {
        self.in_flight.try_acquire()
    }

    /// Admits a call that runs there, even beyond the limit.
    #[must_use]
    pub fn acquire_anyway(&self) -> Permit {
        self.in_flight.acquire_anyway()
    }

    /// Admits a call that waits, if the limit allows.
    #[must_use]
    pub fn wait(&self) -> Option<Permit> {
        self.waiting.try_acquire()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_run_and_calls_that_wait_are_counted_apart() {
        let bulkhead = Bulkhead::default();
        assert_eq!((bulkhead.in_flight_max(), bulkhead.has_room()), (None, true));
        bulkhead.set(1);
        let runs = bulkhead.acquire().unwrap();
        assert!(bulkhead.acquire().is_none() && !bulkhead.has_room());
        let waits = bulkhead.wait().unwrap();
        assert!(bulkhead.wait().is_none());
        assert_eq!((bulkhead.running(), bulkhead.waiting()), (1, 1));
        bulkhead.set(2);
        assert!(bulkhead.has_room());
        drop((runs, waits));
        assert_eq!((bulkhead.running(), bulkhead.waiting()), (0, 0));
    }
}
