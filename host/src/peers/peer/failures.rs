//! What a call that has no sealed answer means, for this host and for callers.

use http::StatusCode;

use crate::base::{ErrorCode, Failure};
use crate::peers::client::{HttpAnswer, SendError};

pub(super) fn unsent(error: &SendError) -> Failure {
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

/// What an answer that is not sealed means. It proves nothing, so nobody knows whether the function ran.
pub(super) fn refused(answer: &HttpAnswer) -> Failure {
    let code = match answer.status {
        StatusCode::UNAUTHORIZED => ErrorCode::Unauthenticated,
        StatusCode::BAD_REQUEST if answer.names_version => ErrorCode::Incompatible,
        _ => ErrorCode::Unavailable,
    };
    Failure::new(
        code,
        format!(
            "the answer is no sealed frame: HTTP status {}, {} bytes",
            answer.status.as_u16(),
            answer.body.len()
        ),
    )
}

/// The failure as callers may see it. What went wrong in detail is in the log.
pub(super) fn for_callers(failure: Box<Failure>) -> Box<Failure> {
    let text = match (failure.code, failure.executed) {
        (ErrorCode::Unavailable, Some(false)) => "the peer that this function runs on cannot be reached",
        (ErrorCode::Unavailable, _) => "the peer that this function runs on gave no usable answer",
        (ErrorCode::Unauthenticated, _) => {
            "the peer that this function runs on does not accept this host's key"
        }
        (ErrorCode::Incompatible, _) => {
            "the peer that this function runs on speaks another version of the wire"
        }
        _ => return failure,
    };
    Box::new(Failure { message: text.to_owned(), ..*failure })
}
