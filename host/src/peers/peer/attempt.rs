//! One attempt at a call: seals it, sends it, and believes only what opens.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::StatusCode;

use super::calling::{Calling, Missed};
use super::failures::{for_callers, refused, unsent};
use super::{Answer, Peer, PeerLimit, failed};
use crate::base::{ErrorCode, Failure, HostId, Invocation};
use crate::peers::client::SendError;
use crate::wire::{self, KeySet, RequestEnvelope, ResponseEnvelope, ResponseError};

/// How soon a peer must refuse a time stamp for the call to be sealed again.
const RESEND_WITHIN: Duration = Duration::from_secs(10);

impl Peer {
    /// Calls `invocation.function` there, twice if the peer refuses the time stamp of the first attempt.
    pub(super) async fn call_uncounted(
        self: &Arc<Self>,
        invocation: &Invocation,
        arguments: Bytes,
        host_id: &HostId,
        instance: [u8; 16],
        calling: &mut Calling<'_>,
    ) -> Answer {
        let Some(key) = &self.key else {
            tracing::warn!(peer = %self.url, "no key seals calls to this peer: set plugins.proxy.auth.rules");
            return failed(Failure::not_executed(
                ErrorCode::Unavailable,
                "this host has no key for the peer that this function runs on",
            ));
        };
        let mut resent = false;
        loop {
            let Some(remaining) = invocation.deadline.remaining() else {
                return failed(Failure::not_executed(
                    ErrorCode::DeadlineExceeded,
                    "the time ran out before the call was sent",
                ));
            };
            let envelope = self.envelope(invocation, arguments.clone(), host_id, instance, remaining);
            let attempted = Instant::now();
            // Boxed, as it may outlive this call.
            let mut attempt = Box::pin(Arc::clone(self).attempt(Arc::clone(key), envelope));
            let response = match tokio::time::timeout(remaining, attempt.as_mut()).await {
                Err(_) => {
                    calling.wait_for_late(attempt);
                    tracing::warn!(peer = %self.url, function = %invocation.function, request_id = %invocation.id, "no answer in time");
                    return failed(Failure::new(
                        ErrorCode::DeadlineExceeded,
                        "the peer did not answer in time",
                    ));
                }
                Ok(Err(Missed { failure, is_excused })) => {
                    if is_excused {
                        calling.excuse();
                    }
                    tracing::warn!(peer = %self.url, function = %invocation.function, request_id = %invocation.id, "{failure}");
                    return Answer::Outcome(Err(for_callers(failure)), None);
                }
                Ok(Ok(response)) => response,
            };
            // Both make the call again, so both need a refusal that says that it did not run.
            if response.itself && refuses(&response, ErrorCode::LoopDetected) && response.host_id == *host_id
            {
                self.is_itself.store(true, Ordering::Relaxed);
                return Answer::Itself;
            }
            // Late, the refusal may be that of a copy of the frame, which somebody sent after holding back the answer
            // to the frame itself.
            let in_time = attempted.elapsed() < RESEND_WITHIN;
            let may_resend = !resent && in_time && refuses(&response, ErrorCode::Replayed);
            if let Some(hint) = response.clock_hint.filter(|_| may_resend) {
                self.follow_clock(hint.now_ms);
                resent = true;
                continue;
            }
            let outcome = response.outcome.map_err(|mut failure| {
                if failure.code == ErrorCode::Replayed && !in_time {
                    failure.executed = None;
                }
                failure
            });
            return Answer::Outcome(outcome, Some(response.host_id));
        }
    }

    fn envelope(
        &self,
        invocation: &Invocation,
        arguments: Bytes,
        host_id: &HostId,
        instance: [u8; 16],
        remaining: Duration,
    ) -> RequestEnvelope {
        let sealing = self.key.as_ref().map(|key| key.id()).unwrap_or_default();
        let mut hops = invocation.hops.clone();
        hops.push(Arc::clone(host_id));
        RequestEnvelope {
            function: invocation.function.clone(),
            arguments,
            // Below a millisecond, 0 would mean that there is no deadline.
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX).max(1),
            hops,
            traceparent: invocation.traceparent.clone(),
            idempotency_key: invocation.key_for_peers(sealing),
            // Always: an address may come to be this host's, or cease to be, at any time.
            instance: Some(instance),
        }
    }

    /// Seals, sends, and opens the answer.
    async fn attempt(
        self: Arc<Self>,
        key: Arc<KeySet>,
        envelope: RequestEnvelope,
    ) -> Result<ResponseEnvelope, Missed> {
        let now_ms = self.now_ms();
        let (request_id, frame) = wire::seal_request(&key, now_ms, &envelope, self.compression);
        drop(envelope);
        let answer = self.client.post(&self.destination, frame).await.map_err(|error| {
            let is_too_large = matches!(error, SendError::TooLarge(_));
            if is_too_large {
                self.limit(PeerLimit::AnswerSize);
            }
            Missed { failure: Box::new(unsent(&error)), is_excused: is_too_large }
        })?;
        if answer.status == StatusCode::OK && answer.is_sealed {
            return wire::open_response(&key, request_id, answer.body, &self.limits).map_err(|error| {
                let limit = match &error {
                    ResponseError::Decode(error) => error.limit().map(PeerLimit::from),
                    _ => None,
                };
                limit.into_iter().for_each(|limit| self.limit(limit));
                let text = format!("the peer's answer cannot be read: {error}");
                let failure = Box::new(Failure::new(ErrorCode::Unavailable, text));
                Missed { failure, is_excused: limit.is_some() }
            });
        }
        let is_excused = answer.status == StatusCode::PAYLOAD_TOO_LARGE;
        Err(Missed { failure: Box::new(refused(&answer)), is_excused })
    }

    fn now_ms(&self) -> u64 {
        unix_ms().saturating_add_signed(self.clock_offset_ms.load(Ordering::Relaxed))
    }

    fn follow_clock(&self, peer_now_ms: u64) {
        let ours = unix_ms();
        let offset = i64::try_from(i128::from(peer_now_ms) - i128::from(ours)).unwrap_or(0);
        tracing::warn!(peer = %self.url, our_clock_ms = ours, peer_clock_ms = peer_now_ms, offset_ms = offset, "the peer refused our time stamp; its clock is used from now on");
        self.clock_offset_ms.store(offset, Ordering::Relaxed);
    }
}

/// Whether the answer is a refusal with that code, before anything ran.
fn refuses(response: &ResponseEnvelope, code: ErrorCode) -> bool {
    let refusal = |failure: &Failure| failure.code == code && failure.executed == Some(false);
    response.outcome.as_ref().err().is_some_and(|failure| refusal(failure))
}

/// Unix time in milliseconds.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
