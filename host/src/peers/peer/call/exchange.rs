//! One exchange over a connection: posts a frame and opens the sealed answer.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use super::answer::AttemptError;
use super::failures::{refused, unsent};
use super::{Peer, PeerLimit};
use crate::base::{ErrorCode, Failure, RequestId};
use crate::peers::Cause;
use crate::peers::peer::hello::{GreetedConnection, NewConnection};
use crate::peers::transport::{HttpAnswer, SendError};
use crate::wire::{self, KeySet, ResponseEnvelope, ResponseError};

impl Peer {
    /// Posts a frame and opens the answer; `None` if nothing of the frame was sent.
    ///
    /// If the connection breaks before an answer begins and `may_repeat` allows it, the same frame goes out again over
    /// a new connection, which replaces `greeted`.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        key: &KeySet,
        greeted: &mut GreetedConnection,
        (request_id, frame): (RequestId, Bytes),
        may_repeat: impl Fn() -> bool + Send,
    ) -> Result<Option<ResponseEnvelope>, AttemptError> {
        let posted = self.spec.client.post(&mut greeted.connection, &self.destination, frame.clone()).await;
        let (answer, broke) = match posted {
            Err(SendError::NotSent) => return Ok(None),
            Err(error @ SendError::NoAnswer(_)) if may_repeat() => {
                let missed = self.attempt_error(&error);
                match self.post_again(key, greeted, frame).await {
                    Some(answer) => (answer, Some(missed)),
                    None => return Err(missed),
                }
            }
            posted => (self.taken(posted)?, None),
        };
        let response = wire::open_response(key, request_id, answer.body, &self.spec.limits)
            .map_err(|error| self.unreadable(&error))?;
        match broke {
            // The first copy arrived, and its answer is lost.
            Some(missed) if is_replayed(&response) => Err(missed),
            _ => Ok(Some(response)),
        }
    }

    /// Posts a frame again that may have been sent: the process that it names runs it once, and refuses the second
    /// copy. So a frame that names none is not posted again. `None` if there is no sealed answer.
    async fn post_again(
        self: &Arc<Self>,
        key: &KeySet,
        greeted: &mut GreetedConnection,
        frame: Bytes,
    ) -> Option<HttpAnswer> {
        greeted.receiver.to()?;
        let Ok(NewConnection::Greeted(fresh)) = self.begin(key).await else { return None };
        self.repeated.count();
        tracing::debug!(peer = %self.spec.url, "a kept connection broke before the peer answered: the same frame is sent over a new one");
        // The frame stays sealed for its process: any other one that answers now refuses it.
        *greeted = GreetedConnection { receiver: greeted.receiver.clone(), ..fresh };
        let mut posted =
            self.spec.client.post(&mut greeted.connection, &self.destination, frame.clone()).await;
        if matches!(posted, Err(SendError::NotSent)) {
            // A proxy may close after each answer, such as the one to the hello.
            greeted.connection = self.connect().await.ok()?;
            posted = self.spec.client.post(&mut greeted.connection, &self.destination, frame).await;
        }
        self.taken(posted).ok()
    }

    /// Returns the sealed answer if there is one.
    fn taken(&self, answer: Result<HttpAnswer, SendError>) -> Result<HttpAnswer, AttemptError> {
        let answer = answer.map_err(|error| self.attempt_error(&error))?;
        if answer.status == StatusCode::OK && answer.is_sealed {
            return Ok(answer);
        }
        let not_the_peers_fault = answer.status == StatusCode::PAYLOAD_TOO_LARGE;
        Err(AttemptError {
            failure: Box::new(refused(&answer)),
            cause: Cause::of_answer(&answer),
            not_the_peers_fault,
        })
    }

    fn unreadable(&self, error: &ResponseError) -> AttemptError {
        let limit = match error {
            ResponseError::Decode(error) => error.limit().map(PeerLimit::from),
            _ => None,
        };
        limit.into_iter().for_each(|limit| self.limit(limit));
        let text = format!("the peer's answer cannot be read: {error}");
        let failure = Box::new(Failure::new(ErrorCode::Unavailable, text));
        let cause = if limit.is_some() { Cause::TooLarge } else { Cause::Unreadable };
        AttemptError { failure, cause, not_the_peers_fault: limit.is_some() }
    }

    /// Returns the error of an attempt without an answer.
    pub(super) fn attempt_error(&self, error: &SendError) -> AttemptError {
        let is_too_large = matches!(error, SendError::TooLarge(_));
        if is_too_large {
            self.limit(PeerLimit::AnswerSize);
        }
        AttemptError {
            failure: Box::new(unsent(error)),
            cause: Cause::of_send(error),
            not_the_peers_fault: is_too_large,
        }
    }
}

fn is_replayed(response: &ResponseEnvelope) -> bool {
    response.outcome.as_ref().is_err_and(|failure| failure.code == ErrorCode::Replayed)
}
