//! The answer to a call, and the result of one attempt at it.

use crate::base::{Executed, Failure, HostId, Outcome};
use crate::peers::{Cause, Cure};
use crate::wire::ResponseEnvelope;

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
    pub fn executed(&self) -> Executed {
        match self {
            Self::Outcome(Ok(_), _) => Executed::Yes,
            Self::Outcome(Err(failure), _) => failure.executed,
            Self::Itself => Executed::No,
        }
    }
}

pub(super) fn failed(failure: Failure) -> PeerAnswer {
    PeerAnswer::Outcome(Err(Box::new(failure)), None)
}

/// The result of an attempt.
#[derive(Debug)]
pub(super) enum AttemptResult {
    /// A sealed answer from a process that may give it, or the failure that stands for an answer without proof.
    Answered(Box<ResponseEnvelope>),
    /// The URL leads back to this process.
    Itself,
    /// The peer is well, and the call was given up before it was sent.
    GivenUp,
}

/// An attempt without a sealed answer.
#[derive(Debug)]
pub(in crate::peers::peer) struct AttemptError {
    pub(in crate::peers::peer) failure: Box<Failure>,
    pub(in crate::peers::peer) cause: Cause,
    /// It does not count against the peer.
    pub(in crate::peers::peer) not_the_peers_fault: bool,
}
