//! One call of a peer: seals it, sends it, and believes only what opens.

use std::sync::Arc;

use bytes::Bytes;

use super::{Peer, PeerLimit, PeerPermit};
use crate::base::{HostId, Invocation};

mod answer;
mod attempt;
mod exchange;
mod failures;
mod progress;
mod recorder;

pub use answer::{PeerAnswer, PeerResult};

pub(super) use answer::AttemptError;
pub(super) use failures::{refused, unsent};

use failures::for_callers;
use progress::AttemptProgress;
use recorder::CallRecorder;

impl Peer {
    /// Calls `invocation.function` there, within its deadline; if `only` names a host, on that host or not at all.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection, so that the peer drops the call as well.
    pub async fn call(
        self: &Arc<Self>,
        invocation: &Invocation,
        arguments: Bytes,
        permit: PeerPermit,
        only: Option<&HostId>,
    ) -> PeerResult {
        let PeerPermit { breaker, _in_flight } = permit;
        let mut recorder = CallRecorder::begin(self, breaker);
        let progress = Arc::new(AttemptProgress::to(only));
        let answer = self.call_unrecorded(invocation, arguments, &progress, &mut recorder).await;
        recorder.end(&answer);
        let cure = recorder.cure(&answer);
        let answer = for_callers(answer, &invocation.function, recorder.cause());
        PeerResult { answer, cure, sent_to: progress.sent_to() }
    }
}
