//! Accepting connections, within the number of permits of a listener.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Pause after the system refused a connection, for lack of descriptors for example.
const PAUSE: Duration = Duration::from_millis(50);
/// Interval between evictions while a connection waits for a permit.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Accepts the next connection; nothing once `stopping` is cancelled.
pub(super) async fn next<C, F: Future<Output = io::Result<C>>>(
    accept: impl Fn() -> F,
    stopping: &CancellationToken,
) -> Option<C> {
    loop {
        match stopping.run_until_cancelled(accept()).await? {
            Ok(accepted) => return Some(accepted),
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Acquires a permit for a connection; nothing if none is free when `stopping` is cancelled. While none is free,
/// `make_room` evicts a connection, or returns another permit.
pub(super) async fn permit(
    permits: &Arc<Semaphore>,
    stopping: &CancellationToken,
    mut make_room: impl FnMut() -> Option<OwnedSemaphorePermit>,
) -> Option<OwnedSemaphorePermit> {
    loop {
        if let Some(permit) = Arc::clone(permits).try_acquire_owned().ok().or_else(&mut make_room) {
            return Some(permit);
        }
        tokio::select! {
            permit = Arc::clone(permits).acquire_owned() => return permit.ok(),
            // All may have been busy, or slow to go.
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = stopping.cancelled() => return None,
        }
    }
}
