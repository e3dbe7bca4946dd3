//! The progress of the host's end, as the listeners see it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// Announced, then, once the drain deadline has passed, overdue.
#[derive(Debug, Default)]
pub struct Ending {
    is_announced: AtomicBool,
    overdue: CancellationToken,
}

impl Ending {
    /// The host is to end soon. It still serves; it says that it is not ready, and connections of HTTP/1.1 end with
    /// their next answer.
    pub fn announce(&self) {
        self.is_announced.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.is_announced.load(Ordering::Relaxed)
    }

    /// Ends the calls that are still in flight: the drain deadline has passed, and their clients are told so.
    pub fn give_up_calls(&self) {
        self.overdue.cancel();
    }

    pub(crate) async fn overdue(&self) {
        self.overdue.cancelled().await;
    }
}
