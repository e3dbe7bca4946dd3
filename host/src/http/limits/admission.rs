//! The limit of running and waiting calls from outside.
//!
//! There is one for as long as the host runs: its limits change, and the calls that run and wait go on counting.

use std::sync::Arc;

use crate::base::{AcquireError, ConcurrencyLimit, Deadline, ErrorCode, Failure, Limiter, Permit};

/// The limits of the host on calls from outside.
#[derive(Debug)]
pub struct Admission(Arc<Limiter>);

impl Admission {
    /// `in_flight_max` calls run at once, `queue_max` more wait.
    #[must_use]
    pub fn new(in_flight_max: usize, queue_max: usize) -> Self {
        Self(Arc::new(Limiter::new(ConcurrencyLimit { in_flight_max, queue_max })))
    }

    /// Changes the limits. Who runs or waits goes on, and counts against the new ones.
    pub fn set(&self, in_flight_max: usize, queue_max: usize) {
        self.0.set(Some(ConcurrencyLimit { in_flight_max, queue_max }));
    }

    /// Returns the number of running calls.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.running()
    }

    /// Returns the number of waiting calls.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting()
    }

    /// Takes a permit for one call, at once or after waiting in the queue, until the deadline.
    ///
    /// # Errors
    /// `overloaded` if the queue is full, `deadline_exceeded` if none was given back in time.
    pub async fn acquire(&self, deadline: Deadline) -> Result<Permit, Box<Failure>> {
        self.0.acquire(deadline).await.map_err(|why| {
            let (code, text) = match why {
                AcquireError::QueueFull => {
                    (ErrorCode::Overloaded, "the host runs as many calls as it may, and its queue is full")
                }
                AcquireError::TimeRanOut => {
                    (ErrorCode::DeadlineExceeded, "the time ran out while the call waited for a place")
                }
            };
            Box::new(Failure::not_executed(code, text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Executed;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn refusals_have_the_code_of_their_reason() {
        let deadline = Deadline::after(Duration::from_secs(5));
        let admission = Admission::new(1, 0);
        let _permit = admission.acquire(deadline).await.unwrap();
        let refused = admission.acquire(deadline).await.unwrap_err();
        assert_eq!((refused.code, refused.executed), (ErrorCode::Overloaded, Executed::No));
        let admission = Admission::new(1, 1);
        let _permit = admission.acquire(deadline).await.unwrap();
        let refused = admission.acquire(deadline).await.unwrap_err();
        assert_eq!((refused.code, refused.executed), (ErrorCode::DeadlineExceeded, Executed::No));
    }
}
