//! One peer: seals a call, sends it, and believes only what opens.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::StatusCode;

use super::Client;
use super::client::{Destination, HttpAnswer, SendError};
use super::health::{Admission, Health};
use super::load::Latency;
use crate::base::{ErrorCode, Failure, HostId, Invocation, Outcome};
use crate::config::{PeerUrl, REMOTE_PATH};
use crate::functions::CallStats;
use crate::wire::{self, Compression, KeySet, Limits, RequestEnvelope, ResponseEnvelope};

mod calling;

use calling::Calling;

/// How soon a peer must refuse a time stamp for the call to be sealed again.
const RESEND_WITHIN: Duration = Duration::from_secs(10);

/// One configured peer.
pub struct Peer {
    url: PeerUrl,
    destination: Destination,
    key: Option<Arc<KeySet>>,
    client: Client,
    compression: Compression,
    limits: Limits,
    standing: Standing,
    stats: CallStats,
    health: Health,
    latency: Latency,
    is_itself: AtomicBool,
    /// What to add to our clock to have the peer's, in milliseconds.
    clock_offset_ms: AtomicI64,
}

/// The place of a peer among others for the same function, by the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Lower ones come first.
    pub priority: u8,
    /// Its part of the calls, against those of the others; at least 1.
    pub weight: u16,
}

/// What a peer answered.
#[derive(Debug)]
pub enum Answer {
    /// The outcome, from the host of that id if it is known.
    Outcome(Outcome, Option<HostId>),
    /// The URL leads back to this very process: nothing was run.
    Itself,
}

impl Peer {
    /// A peer whose frames `key` seals; without one, every call of it is refused.
    #[must_use]
    pub fn new(
        url: PeerUrl,
        key: Option<Arc<KeySet>>,
        client: Client,
        compression: Compression,
        limits: Limits,
        standing: Standing,
    ) -> Self {
        Self {
            destination: client.destination(url.uri(REMOTE_PATH)),
            url,
            key,
            client,
            compression,
            limits,
            standing,
            stats: CallStats::default(),
            health: Health::default(),
            latency: Latency::default(),
            is_itself: AtomicBool::new(false),
            clock_offset_ms: AtomicI64::new(0),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &PeerUrl {
        &self.url
    }

    /// Whether a call has shown that the URL leads back to this very process.
    #[must_use]
    pub fn is_itself(&self) -> bool {
        self.is_itself.load(Ordering::Relaxed)
    }

    /// What to add to our clock to have the one that the peer asked for, in milliseconds.
    #[must_use]
    pub fn clock_offset_ms(&self) -> i64 {
        self.clock_offset_ms.load(Ordering::Relaxed)
    }

    /// Whether this host has a key that seals calls to it.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// What became of the calls that were made there.
    #[must_use]
    pub fn stats(&self) -> &CallStats {
        &self.stats
    }

    /// Calls `invocation.function` there, within its deadline. `host_id` and `instance` are this host's.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection, so that the peer drops the call as well.
    pub async fn call(
        &self,
        invocation: &Invocation,
        arguments: Bytes,
        host_id: &HostId,
        instance: [u8; 16],
        is_trial: bool,
    ) -> Answer {
        let mut calling = Calling::begin(self, is_trial);
        let answer = self.call_uncounted(invocation, arguments, host_id, instance).await;
        calling.end(&answer);
        answer
    }

    /// Whether a call may go to it now; if it answers [`Admission::Trial`], the call must be made, or given back.
    pub(crate) fn admit(&self, now: Instant) -> Admission {
        self.health.admit(now)
    }

    /// Whether a call could go to it now.
    #[must_use]
    pub fn look(&self, now: Instant) -> Admission {
        self.health.look(now)
    }

    /// A call that was admitted is not made.
    pub(crate) fn give_back(&self, is_trial: bool) {
        if is_trial {
            self.health.trial_ended();
        }
    }

    /// Its place by the config.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Its part of the calls now, less than configured for a while after it came back; above 0.
    #[must_use]
    pub fn weight(&self, now: Instant) -> f64 {
        f64::from(self.standing.weight.max(1)) * self.health.share(now)
    }

    /// What the next answer is expected to take in seconds, times the calls that wait for one.
    #[must_use]
    pub fn load(&self, now: Instant) -> f64 {
        self.latency.seconds(now) * (self.stats.running() + 1) as f64
    }

    /// How it fares, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let now = Instant::now();
        let fares = match self.look(now) {
            Admission::Yes => "it serves".to_owned(),
            Admission::Trial => "it failed, and the next call finds out whether it is back".to_owned(),
            Admission::No(until) => {
                let left = until.saturating_duration_since(now).as_millis();
                format!("it failed, and is not asked for another {left} ms")
            }
        };
        let Standing { priority, weight } = self.standing;
        let (running, ms) = (self.stats.running(), self.latency.seconds(now) * 1000.0);
        format!(
            "{fares}; {running} calls run there, an answer takes about {ms:.1} ms, priority {priority}, weight {weight}"
        )
    }

    async fn call_uncounted(
        &self,
        invocation: &Invocation,
        arguments: Bytes,
        host_id: &HostId,
        instance: [u8; 16],
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
            let attempt = tokio::time::timeout(remaining, self.attempt(key, &envelope)).await;
            let response = match attempt {
                Err(_) => {
                    tracing::warn!(peer = %self.url, function = %invocation.function, request_id = %invocation.id, "no answer in time");
                    return failed(Failure::new(
                        ErrorCode::DeadlineExceeded,
                        "the peer did not answer in time",
                    ));
                }
                Ok(Err(failure)) => {
                    tracing::warn!(peer = %self.url, function = %invocation.function, request_id = %invocation.id, "{failure}");
                    return Answer::Outcome(Err(self.for_callers(failure)), None);
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
        let mut hops = invocation.hops.clone();
        hops.push(Arc::clone(host_id));
        RequestEnvelope {
            function: invocation.function.clone(),
            arguments,
            // Below a millisecond, 0 would mean that there is no deadline.
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX).max(1),
            hops,
            traceparent: invocation.traceparent.clone(),
            idempotency_key: invocation.idempotency_key.clone(),
            // Always: an address may come to be this host's, or cease to be, at any time.
            instance: Some(instance),
        }
    }

    /// Seals, sends, and opens the answer.
    async fn attempt(
        &self,
        key: &KeySet,
        envelope: &RequestEnvelope,
    ) -> Result<ResponseEnvelope, Box<Failure>> {
        let now_ms = self.now_ms();
        let (request_id, frame) = wire::seal_request(key, now_ms, envelope, self.compression);
        let answer =
            self.client.post(&self.destination, frame).await.map_err(|error| Box::new(unsent(&error)))?;
        if answer.status == StatusCode::OK && answer.is_sealed {
            return wire::open_response(key, request_id, answer.body, &self.limits).map_err(|error| {
                Box::new(Failure::new(
                    ErrorCode::Unavailable,
                    format!("the peer's answer cannot be read: {error}"),
                ))
            });
        }
        Err(Box::new(refused(&answer)))
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

    /// The failure as callers may see it. What went wrong in detail is in the log.
    fn for_callers(&self, failure: Box<Failure>) -> Box<Failure> {
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
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("url", &self.url).finish_non_exhaustive()
    }
}

fn failed(failure: Failure) -> Answer {
    Answer::Outcome(Err(Box::new(failure)), None)
}

/// Whether the answer is a refusal with that code, before anything ran.
fn refuses(response: &ResponseEnvelope, code: ErrorCode) -> bool {
    let refusal = |failure: &Failure| failure.code == code && failure.executed == Some(false);
    response.outcome.as_ref().err().is_some_and(|failure| refusal(failure))
}

fn unsent(error: &SendError) -> Failure {
    match error {
        SendError::NotConnected(_) | SendError::CertificateRefused(_) => {
            Failure::not_executed(ErrorCode::Unavailable, error.to_string())
        }
        SendError::Broken(_) | SendError::TooLarge(_) => {
            Failure::new(ErrorCode::Unavailable, error.to_string())
        }
    }
}

/// What an answer that is not sealed means. It proves nothing, so nobody knows whether the function ran.
fn refused(answer: &HttpAnswer) -> Failure {
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

/// Unix time in milliseconds.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
