//! The receiver that a frame was sealed for, and what an answer proves (WIRE.md, "Who may open a frame"). Pure.

use std::time::Duration;

use crate::base::{ErrorCode, Executed, Failure, InstanceId};
use crate::wire::{By, ResponseExtensions};

/// The receiver of the frames of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peers) enum Receiver {
    /// This process: it said so in a hello, and every frame names it.
    Bound(By),
    /// Any process with the key: a host that knows no hellos, or a URL that is configured with `bind = false`.
    Any,
}

impl Receiver {
    /// The id of its host, if it is known.
    pub(in crate::peers) fn host_id(&self) -> Option<&str> {
        match self {
            Self::Bound(by) => Some(&by.host_id),
            Self::Any => None,
        }
    }

    /// The process that frames name.
    pub(in crate::peers) fn to(&self) -> Option<InstanceId> {
        match self {
            Self::Bound(by) => Some(by.instance),
            Self::Any => None,
        }
    }
}

/// The sender of an authentic answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peers) enum AnsweredBy {
    /// The process that the frame was sealed for.
    Receiver,
    /// The next life of that process's host, which began before the frame was sealed: so that process had ended, and
    /// cannot have run it.
    Successor,
    /// The frame was sealed for any process.
    Any,
    /// Another process. The one that the frame was sealed for may have run it all the same.
    Stranger,
}

/// Returns the sender of an answer to a frame for `receiver` that arrived `took` after the frame was sealed.
///
/// Both times are durations by steady clocks. The answer was given at most `took` after the frame was sealed; so a
/// process that had taken over more than `took` before its answer did so before the frame was sealed.
pub(in crate::peers) fn answered_by(
    receiver: &Receiver,
    answer: &ResponseExtensions,
    is_misdirected: bool,
    took: Duration,
) -> AnsweredBy {
    let Some(to) = receiver.to() else { return AnsweredBy::Any };
    if answer.by.as_ref().is_some_and(|by| by.instance == to) {
        return AnsweredBy::Receiver;
    }
    let took_over = answer.took_over_ms.map(Duration::from_millis);
    if is_misdirected && answer.by.is_some() && took_over.is_some_and(|ago| ago > took) {
        return AnsweredBy::Successor;
    }
    AnsweredBy::Stranger
}

/// Returns whether a call ran that has failed according to `by`.
///
/// `is_proven_way` says that the connection itself proves who answers: TLS, or an address of this machine.
pub(in crate::peers) fn executed(by: AnsweredBy, failure: &Failure, is_proven_way: bool) -> Executed {
    match by {
        // Another copy of the frame may have run: this one was seen before, or its stamp is refused.
        _ if failure.code == ErrorCode::Replayed => Executed::Unknown,
        AnsweredBy::Receiver => failure.executed,
        AnsweredBy::Successor => Executed::No,
        AnsweredBy::Any if is_proven_way => failure.executed,
        AnsweredBy::Any if failure.executed == Executed::Yes => Executed::Yes,
        AnsweredBy::Any | AnsweredBy::Stranger => Executed::Unknown,
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
