//! One attempt at a call: seals it for the process at the other end of a connection, sends it, and believes only what
//! opens, as far as the mouth that it comes from proves it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;

use super::calling::{Calling, Missed};
use super::failures::{for_callers, refused, unsent};
use super::hello::{Begun, millis};
use super::{Answer, Peer, PeerLimit, failed};
use crate::base::{Deadline, ErrorCode, Failure, HostId, Invocation};
use crate::peers::Cause;
use crate::peers::client::{HttpAnswer, SendError};
use crate::peers::connections::{Greeted, IDLE_MAX};
use crate::peers::receiver::{Mouth, Receiver, executed, mouth};
use crate::wire::{self, KeySet, RequestEnvelope, RequestExtensions, ResponseEnvelope, ResponseError};

/// How often a call is sealed again that provably did not run, since its connection led to an earlier life of the host.
const SUCCESSORS_MAX: u32 = 3;

/// How often a call of which nothing was sent is sealed for another connection: all that were idle may be closed.
const CLOSED_MAX: usize = IDLE_MAX + 1;

/// How far an attempt is: who waits for it and the attempt itself agree on that, whatever happens at once.
#[derive(Debug, Default)]
pub(super) struct Progress {
    step: AtomicU8,
    /// The only host that the call may be sent to.
    only: Option<HostId>,
    /// The host that it was sent to last, if it has an idempotency key.
    sent_to: Mutex<Option<HostId>>,
}

const BEFORE: u8 = 0;
const SENT: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Progress {
    /// A call that has not begun, for that host alone or for any.
    pub(super) fn to(only: Option<&HostId>) -> Self {
        Self { only: only.cloned(), ..Self::default() }
    }

    /// The host that a call with an idempotency key was sent to last, where its frame named one.
    pub(super) fn sent_to(&self) -> Option<HostId> {
        self.sent_to.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true if the call may go to the host at the other end.
    fn may_go_to(&self, receiver: &Receiver) -> bool {
        self.only.as_deref().is_none_or(|only| receiver.host_id() == Some(only))
    }

    /// Notes where the call goes: of what was sent before, it is known that it did not run.
    fn note(&self, receiver: &Receiver) {
        let host = match receiver {
            Receiver::Bound(by) => Some(Arc::clone(&by.host_id)),
            Receiver::Any => None,
        };
        *self.sent_to.lock().unwrap_or_else(PoisonError::into_inner) = host;
    }

    /// The call is about to be sent; `false` if it was given up.
    fn send(&self) -> bool {
        self.step.compare_exchange(BEFORE, SENT, Ordering::AcqRel, Ordering::Acquire) != Err(GIVEN_UP)
    }

    /// The call is given up; `false` if it may have been sent.
    fn give_up(&self) -> bool {
        self.step.swap(GIVEN_UP, Ordering::AcqRel) != SENT
    }

    /// What was sent has provably not run, and is about to be sent again, unless it was given up.
    fn begin_again(&self) {
        let _given_up = self.step.compare_exchange(SENT, BEFORE, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Attempted {
    /// A sealed answer from one who may give it, or the failure that stands for one that proves nothing.
    Answered(Box<ResponseEnvelope>),
    /// The URL leads back to this process.
    Itself,
    /// The peer is well, and the call was given up before it was sent.
    GivenUp,
}

impl Peer {
    /// Calls `invocation.function` there.
    pub(super) async fn call_uncounted(
        self: &Arc<Self>,
        invocation: &Invocation,
        arguments: Bytes,
        progress: &Arc<Progress>,
        calling: &mut Calling<'_>,
    ) -> Answer {
        let Some(key) = &self.key else {
            tracing::warn!(peer = %self.url, "no key seals calls to this peer: set plugins.proxy.auth.rules");
            calling.missed(Cause::NoKey, false);
            return failed(Failure::not_executed(
                ErrorCode::Unavailable,
                "this host has no key for the peer that this function runs on",
            ));
        };
        let Some(remaining) = invocation.deadline.remaining() else {
            return failed(Failure::not_executed(
                ErrorCode::DeadlineExceeded,
                "the time ran out before the call was sent",
            ));
        };
        let envelope = self.envelope(invocation, arguments);
        // Boxed, as it may outlive this call.
        let attempt =
            Arc::clone(self).attempt(Arc::clone(key), envelope, invocation.deadline, Arc::clone(progress));
        let mut attempt = Box::pin(attempt);
        match tokio::time::timeout(remaining, attempt.as_mut()).await {
            Err(_) => {
                let is_unsent = progress.give_up();
                calling.wait_for_late(attempt);
                tracing::warn!(peer = %self.url, function = %invocation.function, request_id = %invocation.id, "no answer in time");
                failed(if is_unsent {
                    let text = "the time ran out before the call was sent";
                    Failure::not_executed(ErrorCode::DeadlineExceeded, text)
                } else {
                    Failure::new(ErrorCode::DeadlineExceeded, "the peer did not answer in time")
                })
            }
            Ok(Err(Missed { failure, cause, is_excused })) => {
                calling.missed(cause, is_excused);
                tracing::warn!(peer = %self.url, function = %invocation.function, request_id = %invocation.id, "{failure}");
                Answer::Outcome(Err(for_callers(failure)), None)
            }
            Ok(Ok(Attempted::Answered(response))) => {
                Answer::Outcome(response.outcome, Some(response.host_id))
            }
            Ok(Ok(Attempted::Itself)) => Answer::Itself,
            // Only once it was given up, which it was not.
            Ok(Ok(Attempted::GivenUp)) => failed(Failure::not_executed(
                ErrorCode::DeadlineExceeded,
                "the time ran out before the call was sent",
            )),
        }
    }

    fn envelope(&self, invocation: &Invocation, arguments: Bytes) -> RequestEnvelope {
        let sealing = self.key.as_ref().map(|key| key.id()).unwrap_or_default();
        let mut hops = invocation.hops.clone();
        hops.push(Arc::clone(self.client.identity().host_id()));
        RequestEnvelope {
            function: invocation.function.clone(),
            arguments,
            remaining_ms: 0,
            hops,
            traceparent: invocation.traceparent.clone(),
            idempotency_key: invocation.key_for_peers(sealing),
            extensions: RequestExtensions { depth: invocation.depth, ..RequestExtensions::default() },
        }
    }

    /// Takes a connection, seals for the process that it leads to, sends, and opens the answer.
    ///
    /// The call is sealed again only if nothing of it was sent, or if it provably did not run.
    async fn attempt(
        self: Arc<Self>,
        key: Arc<KeySet>,
        mut envelope: RequestEnvelope,
        deadline: Deadline,
        progress: Arc<Progress>,
    ) -> Result<Attempted, Missed> {
        let (mut successors, mut closed, mut next) = (0, 0, None);
        loop {
            let kept = match next.take() {
                Some(greeted) => Some(greeted),
                None => self.connections.take().await,
            };
            let (mut greeted, is_new) = match kept {
                Some(greeted) => (greeted, false),
                None => match self.begin(&key).await {
                    Ok(Begun::Greeted(greeted)) => (greeted, true),
                    Ok(Begun::Itself) => return Ok(Attempted::Itself),
                    Err(missed) => return Err(missed),
                },
            };
            if !progress.may_go_to(&greeted.receiver) {
                if !is_new {
                    continue;
                }
                let text = "another host answers now than the one that may have run this call";
                let failure = Box::new(Failure::new(ErrorCode::Unavailable, text));
                return Err(Missed { failure, cause: Cause::Unwelcome, is_excused: true });
            }
            if !progress.send() {
                self.connections.give_back(greeted);
                return Ok(Attempted::GivenUp);
            }
            // Below a millisecond, 0 would mean that there is no deadline.
            envelope.remaining_ms = deadline.remaining().map_or(0, millis).max(1);
            envelope.extensions.to = greeted.receiver.to();
            if envelope.idempotency_key.is_some() {
                progress.note(&greeted.receiver);
            }
            let sealed_at = Instant::now();
            let (request_id, frame) =
                wire::seal_request(&key, greeted.clock.now_ms(), &envelope, self.compression);
            let answer = match self.client.post(&mut greeted.connection, &self.destination, frame).await {
                Err(SendError::NotSent) if closed < CLOSED_MAX => {
                    progress.begin_again();
                    closed += 1;
                    // A proxy that closes after each answer: a frame names its receiver over any connection.
                    if is_new {
                        greeted.connection = self.connect().await?;
                        next = Some(greeted);
                    }
                    continue;
                }
                answer => self.taken(answer)?,
            };
            let response = wire::open_response(&key, request_id, answer.body, &self.limits)
                .map_err(|error| self.unreadable(&error))?;
            match self.believed(&greeted, response, sealed_at.elapsed()) {
                Believed::Answer(response) => {
                    self.connections.give_back(greeted);
                    return Ok(Attempted::Answered(response));
                }
                Believed::NotRun if successors < SUCCESSORS_MAX => {
                    // All older ones lead there as well, or nowhere.
                    self.connections.close_all();
                    successors += 1;
                    progress.begin_again();
                }
                Believed::NotRun => {
                    let text = "the peer was replaced by its next life again and again";
                    let failure = Failure::not_executed(ErrorCode::Unavailable, text);
                    return Err(Missed {
                        failure: Box::new(failure),
                        cause: Cause::Broken,
                        is_excused: false,
                    });
                }
                Believed::Nothing(failure) => {
                    return Err(Missed { failure, cause: Cause::Stranger, is_excused: true });
                }
            }
        }
    }

    /// The sealed answer, if one came.
    fn taken(&self, answer: Result<HttpAnswer, SendError>) -> Result<HttpAnswer, Missed> {
        let answer = answer.map_err(|error| {
            let is_too_large = matches!(error, SendError::TooLarge(_));
            if is_too_large {
                self.limit(PeerLimit::AnswerSize);
            }
            Missed {
                failure: Box::new(unsent(&error)),
                cause: Cause::of_send(&error),
                is_excused: is_too_large,
            }
        })?;
        if answer.status == StatusCode::OK && answer.is_sealed {
            return Ok(answer);
        }
        let is_excused = answer.status == StatusCode::PAYLOAD_TOO_LARGE;
        Err(Missed { failure: Box::new(refused(&answer)), cause: Cause::of_answer(&answer), is_excused })
    }

    fn unreadable(&self, error: &ResponseError) -> Missed {
        let limit = match error {
            ResponseError::Decode(error) => error.limit().map(PeerLimit::from),
            _ => None,
        };
        limit.into_iter().for_each(|limit| self.limit(limit));
        let text = format!("the peer's answer cannot be read: {error}");
        let failure = Box::new(Failure::new(ErrorCode::Unavailable, text));
        let cause = if limit.is_some() { Cause::TooLarge } else { Cause::Unreadable };
        Missed { failure, cause, is_excused: limit.is_some() }
    }

    /// What an authentic answer proves, `took` after its frame was sealed.
    fn believed(&self, greeted: &Greeted, mut response: ResponseEnvelope, took: Duration) -> Believed {
        let is_misdirected =
            response.outcome.as_ref().err().is_some_and(|failure| failure.code == ErrorCode::Misdirected);
        let mouth = mouth(&greeted.receiver, &response.extensions, is_misdirected, took);
        match mouth {
            Mouth::Successor => {
                tracing::info!(peer = %self.url, "the peer was restarted behind its connection: the call is sealed for the process that runs now");
                Believed::NotRun
            }
            Mouth::Stranger => {
                let by = response.extensions.by.as_ref();
                tracing::warn!(
                    peer = %self.url,
                    made_for = greeted.receiver.host_id(),
                    answered_by = by.map(|by| &*by.host_id),
                    "another process answered than the one that the call was made for, which may have run it: a balancer \
                     that changes hosts within a connection needs bind = false for this URL, and a key of its own"
                );
                let text = "another process answered than the one that the call was made for";
                Believed::Nothing(Box::new(Failure::new(ErrorCode::Unavailable, text)))
            }
            Mouth::Receiver | Mouth::Any => {
                let is_proven_way = self.url.is_https() || self.url.is_loopback();
                if let Err(failure) = &mut response.outcome {
                    failure.executed = executed(mouth, failure, is_proven_way);
                }
                Believed::Answer(Box::new(response))
            }
        }
    }
}

enum Believed {
    /// The answer, as far as it is believed.
    Answer(Box<ResponseEnvelope>),
    /// The call provably did not run, and may be sealed again for another process.
    NotRun,
    /// Nothing: another process may have run the call.
    Nothing(Box<Failure>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::InstanceId;
    use crate::wire::By;

    fn bound(host: &str) -> Receiver {
        Receiver::Bound(By { host_id: host.into(), instance: InstanceId([1; 16]) })
    }

    #[test]
    fn a_call_that_was_given_up_is_never_sent_again() {
        let progress = Progress::default();
        assert!(progress.send());
        progress.begin_again();
        assert!(progress.send());
        assert!(!progress.give_up(), "it may have been sent");
        progress.begin_again();
        assert!(!progress.send());
        let unsent = Progress::default();
        assert!(unsent.give_up() && !unsent.send());
    }

    #[test]
    fn a_repeat_belongs_to_the_host_that_the_call_was_sent_to_last() {
        let progress = Progress::default();
        progress.note(&bound("closed-before-it-was-sent"));
        progress.note(&bound("host-b"));
        assert_eq!(progress.sent_to().as_deref(), Some("host-b"));
        let again = Progress::to(progress.sent_to().as_ref());
        assert!(again.may_go_to(&bound("host-b")) && !again.may_go_to(&bound("host-c")));
        assert!(!again.may_go_to(&Receiver::Any));
    }
}
