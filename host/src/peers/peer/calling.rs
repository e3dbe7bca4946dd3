//! What one call says of its peer: counts, load, health.

use std::time::Instant;

use super::{Answer, Peer};
use crate::base::ErrorCode;

/// Counts a call, and notes what it says of the peer; also if it is dropped.
pub(super) struct Calling<'a> {
    peer: &'a Peer,
    begun: Instant,
    is_trial: bool,
    ended: bool,
}

impl<'a> Calling<'a> {
    pub(super) fn begin(peer: &'a Peer, is_trial: bool) -> Self {
        peer.stats.begin();
        Self { peer, begun: Instant::now(), is_trial, ended: false }
    }

    pub(super) fn end(&mut self, answer: &Answer) {
        let (peer, now) = (self.peer, Instant::now());
        let took = now.saturating_duration_since(self.begun);
        let Answer::Outcome(outcome, served_by) = answer else { return };
        peer.stats.end(outcome, took);
        self.ended = true;
        match (outcome, served_by) {
            // Of a limit: it is there, and has enough to do.
            (Err(failure), Some(_))
                if matches!(failure.code, ErrorCode::Overloaded | ErrorCode::Unavailable) =>
            {
                peer.latency.failed(took, now);
                peer.health.succeeded(now, self.is_trial);
            }
            (_, Some(_)) => {
                peer.latency.answered(took, now);
                peer.health.succeeded(now, self.is_trial);
            }
            // Nothing was sent: that says nothing of the peer.
            (Err(failure), None)
                if failure.code == ErrorCode::DeadlineExceeded && failure.executed == Some(false) =>
            {
                peer.give_back(self.is_trial);
            }
            (_, None) => {
                peer.latency.failed(took, now);
                if peer.health.failed(now, self.is_trial, rand::random()) {
                    peer.known.has_failed.notify_one();
                    tracing::warn!(peer = %peer.url, "the peer is left alone for a while: {}", peer.describe());
                }
            }
        }
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.peer.stats.cancel(self.begun.elapsed());
            self.peer.give_back(self.is_trial);
        }
    }
}
