//! One attempt at a call: seals it for the process at the other end of a connection, sends it, and believes of the
//! answer only what its sender proves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Peer;
use super::answer::{AttemptError, AttemptResult, PeerAnswer, failed};
use super::progress::AttemptProgress;
use super::recorder::CallRecorder;
use crate::base::{Deadline, ErrorCode, Executed, Failure, Invocation, milliseconds};
use crate::peers::Cause;
use crate::peers::peer::hello::{
    AnsweredBy, GreetedConnection, IDLE_MAX, NewConnection, answered_by, executed,
};
use crate::peers::transport::SendError;
use crate::wire::{self, KeySet, RequestEnvelope, RequestExtensions, ResponseEnvelope};

/// The maximum number of times that a call is sealed again because its connection led to an earlier life of the host,
/// which provably did not run it.
const SUCCESSORS_MAX: u32 = 3;

/// The maximum number of times that an unsent call is sealed for another connection: all idle ones may be closed.
const CLOSED_MAX: usize = IDLE_MAX + 1;

impl Peer {
    /// Calls `invocation.function` there.
    pub(super) async fn call_unrecorded(
        self: &Arc<Self>,
        invocation: &Invocation,
        arguments: Bytes,
        progress: &Arc<AttemptProgress>,
        recorder: &mut CallRecorder<'_>,
    ) -> PeerAnswer {
        let Some(key) = &self.spec.key else {
            tracing::warn!(peer = %self.spec.url, "no key seals calls to this peer: set plugins.proxy.auth.rules");
            recorder.miss(Cause::NoKey, false);
            return failed(Failure::not_executed(
                ErrorCode::Unavailable,
                "this host has no key that seals calls to it (plugins.proxy.auth.rules)",
            ));
        };
        let Some(remaining) = invocation.deadline.remaining() else {
            return failed(unsent_in_time(invocation));
        };
        let envelope = self.envelope(invocation, arguments);
        // Boxed, as it may outlive this call.
        let attempt =
            Arc::clone(self).attempt(Arc::clone(key), envelope, invocation.deadline, Arc::clone(progress));
        let mut attempt = Box::pin(attempt);
        match tokio::time::timeout(remaining, attempt.as_mut()).await {
            Err(_) => {
                let is_unsent = progress.give_up();
                recorder.wait_for_late(attempt);
                tracing::warn!(peer = %self.spec.url, function = %invocation.function, request_id = %invocation.id, "no answer in time");
                failed(if is_unsent { unsent_in_time(invocation) } else { unanswered_in_time(invocation) })
            }
            Ok(Err(AttemptError { failure, cause, not_the_peers_fault })) => {
                recorder.miss(cause, not_the_peers_fault);
                if failure.executed == Executed::Unknown {
                    invocation.served_by.lost();
                }
                tracing::warn!(peer = %self.spec.url, function = %invocation.function, request_id = %invocation.id, "{failure}");
                PeerAnswer::Outcome(Err(failure), None)
            }
            Ok(Ok(AttemptResult::Answered(response))) => {
                if response.extensions.repeated {
                    invocation.served_by.repeats_at_peer();
                }
                PeerAnswer::Outcome(response.outcome, Some(response.host_id))
            }
            Ok(Ok(AttemptResult::Itself)) => PeerAnswer::Itself,
            // Happens only after `give_up`, which is called on the other branch.
            Ok(Ok(AttemptResult::GivenUp)) => failed(unsent_in_time(invocation)),
        }
    }

    fn envelope(&self, invocation: &Invocation, arguments: Bytes) -> RequestEnvelope {
        let sealing = self.spec.key.as_ref().map(|key| key.id()).unwrap_or_default();
        let mut hops = invocation.hops.clone();
        hops.push(Arc::clone(self.spec.client.identity().host_id()));
        RequestEnvelope {
            function: invocation.function.clone(),
            arguments,
            remaining_ms: 0,
            hops,
            traceparent: invocation.traceparent.clone(),
            idempotency_key: invocation.key_for_peers(sealing),
            extensions: RequestExtensions {
                depth: invocation.depth,
                call: Some(invocation.id),
                ..RequestExtensions::default()
            },
        }
    }

    /// Takes a connection, seals for its process, sends, and opens the answer.
    ///
    /// The call is sealed again only if nothing of it was sent, or if it provably did not run. The same frame is sent
    /// again only if its receiver would refuse the second copy.
    async fn attempt(
        self: Arc<Self>,
        key: Arc<KeySet>,
        mut envelope: RequestEnvelope,
        deadline: Deadline,
        progress: Arc<AttemptProgress>,
    ) -> Result<AttemptResult, AttemptError> {
        let (mut successors, mut closed, mut next) = (0, 0, None);
        loop {
            let kept = match next.take() {
                Some(greeted) => Some(greeted),
                None => self.connections.take().await,
            };
            let (mut greeted, is_new) = match kept {
                Some(greeted) => (greeted, false),
                None => match self.begin(&key).await {
                    Ok(NewConnection::Greeted(greeted)) => (greeted, true),
                    Ok(NewConnection::Itself) => return Ok(AttemptResult::Itself),
                    Err(missed) => return Err(missed),
                },
            };
            if !progress.may_go_to(&greeted.receiver) {
                if !is_new {
                    continue;
                }
                let text = "another host answers now than the one that may have run this call";
                let failure = Box::new(Failure::new(ErrorCode::Unavailable, text));
                return Err(AttemptError { failure, cause: Cause::WrongHost, not_the_peers_fault: true });
            }
            if !progress.send() {
                self.connections.give_back(greeted);
                return Ok(AttemptResult::GivenUp);
            }
            // Below a millisecond, 0 would mean that there is no deadline.
            envelope.remaining_ms = deadline.remaining().map_or(0, milliseconds).max(1);
            envelope.extensions.to = greeted.receiver.to();
            if envelope.idempotency_key.is_some() {
                progress.note(&greeted.receiver);
            }
            let sealed_at = Instant::now();
            let (request_id, frame) =
                wire::seal_request(&key, greeted.clock.now_ms(), &envelope, self.spec.compression);
            let sealed = (request_id, Bytes::from(frame));
            let may_repeat = || !is_new && progress.is_awaited();
            let Some(response) = self.exchange(&key, &mut greeted, sealed, may_repeat).await? else {
                if closed == CLOSED_MAX {
                    return Err(self.attempt_error(&SendError::NotSent));
                }
                progress.begin_again();
                closed += 1;
                // A proxy may close after each answer, and a frame names its receiver over any connection.
                if is_new {
                    greeted.connection = self.connect().await?;
                    next = Some(greeted);
                }
                continue;
            };
            match self.proven(&greeted, response, sealed_at.elapsed()) {
                Proven::Answer(response) => {
                    self.connections.give_back(greeted);
                    return Ok(AttemptResult::Answered(response));
                }
                Proven::NotRun if successors < SUCCESSORS_MAX => {
                    // All older connections lead there as well, or nowhere.
                    self.connections.close_all();
                    successors += 1;
                    progress.begin_again();
                }
                Proven::NotRun => {
                    let text = "the peer was replaced by its next life again and again";
                    let failure = Failure::not_executed(ErrorCode::Unavailable, text);
                    return Err(AttemptError {
                        failure: Box::new(failure),
                        cause: Cause::Broken,
                        not_the_peers_fault: false,
                    });
                }
                Proven::Nothing(failure) => {
                    return Err(AttemptError {
                        failure,
                        cause: Cause::OtherProcess,
                        not_the_peers_fault: true,
                    });
                }
            }
        }
    }

    /// Returns what an authentic answer proves that arrived `took` after its frame was sealed.
    fn proven(&self, greeted: &GreetedConnection, mut response: ResponseEnvelope, took: Duration) -> Proven {
        let is_misdirected =
            response.outcome.as_ref().err().is_some_and(|failure| failure.code == ErrorCode::Misdirected);
        let by = answered_by(&greeted.receiver, &response.extensions, is_misdirected, took);
        match by {
            AnsweredBy::Successor => {
                tracing::info!(peer = %self.spec.url, "the peer was restarted behind its connection: the call is sealed for the process that runs now");
                Proven::NotRun
            }
            AnsweredBy::Stranger => {
                let by = response.extensions.by.as_ref();
                tracing::warn!(
                    peer = %self.spec.url,
                    made_for = greeted.receiver.host_id(),
                    answered_by = by.map(|by| &*by.host_id),
                    "another process answered than the one that the call was made for, which may have run it: a balancer \
                     that changes hosts within a connection needs bind = false for this URL, and a key of its own"
                );
                let text = "another process answered than the one that the call was made for";
                Proven::Nothing(Box::new(Failure::new(ErrorCode::Unavailable, text)))
            }
            AnsweredBy::Receiver | AnsweredBy::Any => {
                let is_proven_way = self.spec.is_proven_way();
                if let Err(failure) = &mut response.outcome {
                    failure.executed = executed(by, failure, is_proven_way);
                }
                Proven::Answer(Box::new(response))
            }
        }
    }
}

fn unsent_in_time(invocation: &Invocation) -> Failure {
    let text = format!("the time ran out before the call of function `{}` was sent", invocation.function);
    Failure::not_executed(ErrorCode::DeadlineExceeded, text)
}

fn unanswered_in_time(invocation: &Invocation) -> Failure {
    let text = format!("the peer that function `{}` runs on did not answer in time", invocation.function);
    Failure::new(ErrorCode::DeadlineExceeded, text)
}

enum Proven {
    /// The answer, as far as it is proven.
    Answer(Box<ResponseEnvelope>),
    /// The call provably did not run, and may be sealed again for another process.
    NotRun,
    /// Nothing: another process may have run the call.
    Nothing(Box<Failure>),
}
