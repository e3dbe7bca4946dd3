//! The failures of calls without a sealed answer, for this host and for callers.

use super::answer::PeerAnswer;
use crate::base::{ErrorCode, Executed, Failure, FunctionName};
use crate::peers::Cause;
use crate::peers::transport::{HttpAnswer, SendError};

pub(in super::super) fn unsent(error: &SendError) -> Failure {
    match error {
        SendError::NotConnected(_)
        | SendError::NotSent
        | SendError::Refused(_)
        | SendError::CertificateRefused(_) => {
            Failure::not_executed(ErrorCode::Unavailable, error.to_string())
        }
        SendError::NoAnswer(_) | SendError::Broken(_) | SendError::TooLarge(_) => {
            Failure::new(ErrorCode::Unavailable, error.to_string())
        }
    }
}

/// Returns the failure of an answer that is not sealed. It proves nothing, so whether the function ran stays unknown.
pub(in super::super) fn refused(answer: &HttpAnswer) -> Failure {
    let (status, bytes) = (answer.status.as_u16(), answer.body.len());
    Failure::new(
        ErrorCode::Unavailable,
        format!("the answer is not a sealed frame: HTTP status {status}, {bytes} bytes"),
    )
}

/// Returns an answer as callers may see it: in terms of the function that was called, which may be within another one.
/// Faults between the two hosts are `unavailable`: the caller can neither show another key nor speak another version.
/// The log has the details.
pub(super) fn for_callers(answer: PeerAnswer, function: &FunctionName, cause: Option<Cause>) -> PeerAnswer {
    let PeerAnswer::Outcome(Err(failure), who) = answer else { return answer };
    let the_peer = format!("the peer that function `{function}` runs on");
    let failure = match (cause, &who) {
        // Two hosts with one id are for operators to put right, who would search for a circle otherwise.
        (Some(_), None) if failure.code == ErrorCode::LoopDetected => failure,
        (Some(cause), None) => {
            let message = format!("{the_peer} {}", cause.predicate());
            Box::new(Failure { message, ..*failure })
        }
        (_, Some(_)) if failure.executed != Executed::Yes => of_this_host(failure, &the_peer),
        _ => failure,
    };
    PeerAnswer::Outcome(Err(failure), who)
}

/// A failure about another host's key, rights or frames is not for the caller of that host, and may name what only
/// operators may know. A function that ran speaks for itself.
fn of_this_host(failure: Box<Failure>, the_peer: &str) -> Box<Failure> {
    let text = match failure.code {
        ErrorCode::Unauthenticated => "does not accept this host's key, or that of the next host",
        ErrorCode::PermissionDenied => "does not let this host call it",
        ErrorCode::Misdirected => "is another process than the one that the call was made for",
        _ => return failure,
    };
    Box::new(Failure { code: ErrorCode::Unavailable, message: format!("{the_peer} {text}"), ..*failure })
}
