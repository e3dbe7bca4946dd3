//! How many calls run at once, and how many wait for a place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::{Deadline, ErrorCode, Failure};

/// The limits of the host on calls from outside.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Semaphore>,
    in_flight_max: usize,
    waiting: AtomicUsize,
    queue_max: usize,
}

impl Admission {
    /// `in_flight_max` calls run at once, `queue_max` more wait.
    #[must_use]
    pub fn new(in_flight_max: usize, queue_max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(in_flight_max)),
            in_flight_max,
            waiting: AtomicUsize::new(0),
            queue_max,
        }
    }

    /// How many calls run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.in_flight_max.saturating_sub(self.places.available_permits())
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A place for one call, at once or after waiting in the queue, until the deadline.
    ///
    /// # Errors
    /// `overloaded` if the queue is full, `deadline_exceeded` if no place came free in time.
    pub async fn enter(&self, deadline: Deadline) -> Result<OwnedSemaphorePermit, Box<Failure>> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = Waiting::join(&self.waiting, self.queue_max).ok_or_else(overloaded)?;
        match tokio::time::timeout_at(deadline.0.into(), Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(overloaded()),
            Err(_) => Err(Box::new(Failure::not_executed(
                ErrorCode::DeadlineExceeded,
                "the time ran out while the call waited for a place",
            ))),
        }
    }
}

fn overloaded() -> Box<Failure> {
    Box::new(Failure::not_executed(
        ErrorCode::Overloaded,
        "the host runs as many calls as it may, and its queue is full",
    ))
}

/// One place in the queue, given back when it drops.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let joined = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting < max).then_some(waiting + 1)
        });
        // Only one that joined may be made: its drop leaves the queue.
        joined.is_ok().then(|| Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn places_then_queue_then_overloaded() {
        let admission = Admission::new(1, 1);
        let deadline = Deadline::after(Duration::from_secs(5));
        let place = admission.enter(deadline).await.unwrap();
        let second = admission.enter(deadline);
        tokio::pin!(second);
        assert!(futures_poll(second.as_mut()).await.is_none(), "the second one waits");
        assert_eq!(admission.enter(deadline).await.unwrap_err().code, ErrorCode::Overloaded);
        drop(place);
        drop(second.await.unwrap());
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
