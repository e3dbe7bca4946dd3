//! Places of a function whose calls do not run yet: they wait for a place of the plugin.
//!
//! A call that has the plugin's place already, by way of the one that it is made within, runs in such a place meanwhile.
//! Otherwise each of the two would wait for what the other one has.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::base::{Deadline, Mutex, NoPlace, Place};

/// The idle places of one function.
///
/// Free ones and borrowed ones together are as many as there are lenders and places that lenders have left behind.
#[derive(Debug)]
pub(super) struct Idle {
    free: Semaphore,
    /// Of lenders that gave up while their places were borrowed.
    left_behind: Mutex<Vec<Place>>,
}

/// The place of a call that waits for the plugin's, which another one may borrow.
#[derive(Debug)]
pub(super) struct Lent {
    idle: Arc<Idle>,
    place: Option<Place>,
}

/// A place that is borrowed, given back when it drops.
#[derive(Debug)]
pub(super) struct Borrowed(Arc<Idle>);

impl Default for Idle {
    /// None.
    fn default() -> Self {
        Self { free: Semaphore::new(0), left_behind: Mutex::default() }
    }
}

impl Idle {
    /// Lets others borrow a place until it is taken back.
    pub(super) fn lend(self: &Arc<Self>, place: Place) -> Lent {
        self.free.add_permits(1);
        Lent { idle: Arc::clone(self), place: Some(place) }
    }

    /// One that is free.
    pub(super) fn try_borrow(self: &Arc<Self>) -> Option<Borrowed> {
        self.free.try_acquire().ok()?.forget();
        Some(Borrowed(Arc::clone(self)))
    }

    /// One as soon as it is free, first come, first served.
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue.
    pub(super) async fn borrow(self: &Arc<Self>) -> Borrowed {
        let _settling = Settling(self);
        match self.free.acquire().await {
            Ok(permit) => {
                permit.forget();
                Borrowed(Arc::clone(self))
            }
            // Nobody closes the semaphore.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives back the places that were left behind, as far as nobody borrows them.
    fn settle(&self) {
        // One after the other, and without the lock: whoever waits for the place is woken by its drop.
        while let Some(place) = self.left_behind_and_free() {
            drop(place);
        }
    }

    fn left_behind_and_free(&self) -> Option<Place> {
        let mut left_behind = self.left_behind.lock();
        let place = left_behind.pop()?;
        match self.free.try_acquire() {
            Ok(permit) => {
                permit.forget();
                Some(place)
            }
            Err(_) => {
                left_behind.push(place);
                None
            }
        }
    }
}

impl Lent {
    /// The place, which there always is, as soon as nobody borrows it.
    ///
    /// # Errors
    /// The time ran out.
    ///
    /// # Cancel safety
    /// Dropping it gives the place up.
    pub(super) async fn take_back(mut self, deadline: Deadline) -> Result<Option<Place>, NoPlace> {
        match tokio::time::timeout_at(deadline.0.into(), self.idle.free.acquire()).await {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(self.place.take())
            }
            // Nobody closes the semaphore.
            Ok(Err(_)) | Err(_) => Err(NoPlace::TimeRanOut),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        self.idle.left_behind.lock().push(place);
        self.idle.settle();
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // The lock ends with this line, before the place is dropped, which wakes whoever waits for it.
        let left_behind = self.0.left_behind.lock().pop();
        if left_behind.is_none() {
            self.0.free.add_permits(1);
            // Its lender may have gone just now.
            self.0.settle();
        }
    }
}

/// A place that was given to one who had gone just then is free again: it may be one that was left behind.
struct Settling<'a>(&'a Idle);

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.0.settle();
    }
}
