//! Leases on the code of a generation. Every handler, future, reply and waker that holds something of a plugin holds a
//! lease, as its last field; once the last one is dropped, the generation may be stopped.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A generation's side of its leases.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    drained: Notify,
    cancelled: CancellationToken,
}

/// Keeps the code of a generation in use.
#[derive(Debug, Clone)]
pub(crate) struct Lease(Arc<Leased>);

/// A lease that does not keep the code in use.
#[derive(Debug, Clone)]
pub(crate) struct WeakLease(Weak<Leased>);

/// Dropped with the last lease.
#[derive(Debug)]
struct Leased(Arc<Leases>);

impl Drop for Leased {
    fn drop(&mut self) {
        self.0.drained.notify_one();
    }
}

impl Leases {
    /// Makes the lease that all others are clones of. Called once.
    pub(crate) fn first(self: &Arc<Self>) -> Lease {
        Lease(Arc::new(Leased(Arc::clone(self))))
    }

    /// Waits until no lease is left, without a deadline.
    pub(crate) async fn drained(&self) {
        self.drained.notified().await;
    }

    /// Waits until no lease is left. Returns false if the deadline passes first.
    pub(crate) async fn drain(&self, within: Duration) -> bool {
        tokio::time::timeout(within, self.drained()).await.is_ok()
    }

    /// Drops the calls that have suspended; their callers get `cancelled`.
    pub(crate) fn cancel_calls(&self) {
        self.cancelled.cancel();
    }
}

impl Lease {
    /// Resolves when the calls of the generation are to be dropped.
    pub(crate) fn cancelled(&self) -> WaitForCancellationFutureOwned {
        self.0.0.cancelled.clone().cancelled_owned()
    }

    pub(crate) fn downgrade(&self) -> WeakLease {
        WeakLease(Arc::downgrade(&self.0))
    }
}

impl WeakLease {
    pub(crate) fn upgrade(&self) -> Option<Lease> {
        self.0.upgrade().map(Lease)
    }

    /// Returns the number of leases.
    pub(crate) fn count(&self) -> usize {
        self.0.strong_count()
    }
}
