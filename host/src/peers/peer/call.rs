//! One call of a peer: seals it, sends it, and believes only what opens.

use std::sync::Arc;

use bytes::Bytes;

use super::{Peer, PeerLimit, PeerPermit};
use crate::base::{Executed, Failure, HostId, Invocation, Outcome};
use crate::peers::Cure;

mod attempt;
mod exchange;
mod failures;
mod progress;
mod recorder;

pub(super) use failures::{refused, unsent};
pub(super) use recorder::AttemptError;

use failures::for_callers;
use progress::AttemptProgress;
use recorder::CallRecorder;

/// A peer's answer.
#[derive(Debug)]
pub enum PeerAnswer {
    /// The outcome, from the host of that id if it is known.
    Outcome(Outcome, Option<HostId>),
    /// The URL leads back to this very process: nothing was run.
    Itself,
}

/// An answer, and what follows from it for other attempts.
#[derive(Debug)]
pub struct PeerResult {
    /// The answer.
    pub answer: PeerAnswer,
    /// The cure of a failure; it has no meaning for a result.
    pub cure: Cure,
    /// The host that a call with an idempotency key was sent to, if its frame named one.
    pub sent_to: Option<HostId>,
}

impl PeerAnswer {
    /// Returns whether the peer ran the call.
    #[must_use]
    pub fn executed(&self) -> Executed {
        match self {
            Self::Outcome(Ok(_), _) => Executed::Yes,
            Self::Outcome(Err(failure), _) => failure.executed,
            Self::Itself => Executed::No,
        }
    }
}

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

fn failed(failure: Failure) -> PeerAnswer {
    PeerAnswer::Outcome(Err(Box::new(failure)), None)
}
