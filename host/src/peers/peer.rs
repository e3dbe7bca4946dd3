//! One peer: seals a call, sends it, and believes only what opens.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::StatusCode;

use super::Client;
use super::client::{Destination, SendError};
use super::health::{Admission, Health};
use super::known::Known;
use super::load::Latency;
use crate::base::{Counter, ErrorCode, Failure, HostId, Invocation, Outcome};
use crate::config::{PeerUrl, REMOTE_PATH};
use crate::functions::CallStats;
use crate::wire::{self, Compression, KeySet, Limits, RequestEnvelope, ResponseEnvelope, ResponseError};

mod calling;
mod failures;
mod limit;
mod offering;

pub use limit::PeerLimit;
pub use offering::Allowed;

use calling::Calling;
use failures::{for_callers, refused, unsent};
use offering::Reach;

/// How soon a peer must refuse a time stamp for the call to be sealed again.
const RESEND_WITHIN: Duration = Duration::from_secs(10);

/// One configured peer.
pub struct Peer {
    url: PeerUrl,
    /// The URL of the config, for one that was found.
    found_behind: Option<PeerUrl>,
    /// It stands for peers of which none has been found yet.
    is_unfound: bool,
    destination: Destination,
    key: Option<Arc<KeySet>>,
    client: Client,
    compression: Compression,
    limits: Limits,
    standing: Standing,
    stats: CallStats,
    health: Health,
    latency: Latency,
    /// Answers that were more than is taken, by [`PeerLimit`].
    limited: [Counter; PeerLimit::ALL.len()],
    reach: Reach,
    known: Arc<Known>,
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

impl Answer {
    /// Whether the peer ran the call; nothing if nobody knows.
    #[must_use]
    pub fn executed(&self) -> Option<bool> {
        match self {
            Self::Outcome(Ok(_), _) => Some(true),
            Self::Outcome(Err(failure), _) => failure.executed,
            Self::Itself => Some(false),
        }
    }
}

impl Peer {
    /// A peer, perhaps one that was found behind a URL of the config, whose frames `key` seals; without one, every call of it is refused. It may be asked what is allowed, and
    /// what is known of it already may be from another one at the same URL.
    #[must_use]
    pub fn new(
        (url, found_behind): (PeerUrl, Option<PeerUrl>),
        key: Option<Arc<KeySet>>,
        client: Client,
        compression: Compression,
        limits: Limits,
        standing: Standing,
        (allowed, known): (Allowed, Arc<Known>),
    ) -> Self {
        Self {
            reach: Reach::new(allowed, &client, &url),
            known,
            destination: client.destination(url.uri(REMOTE_PATH)),
            url,
            found_behind,
            is_unfound: false,
            key,
            client,
            compression,
            limits,
            standing,
            stats: CallStats::default(),
            health: Health::default(),
            latency: Latency::default(),
            limited: Default::default(),
            is_itself: AtomicBool::new(false),
            clock_offset_ms: AtomicI64::new(0),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &PeerUrl {
        &self.url
    }

    /// Has it stand for peers of which none has been found yet: every call of it is refused, and nothing is sent.
    #[must_use]
    pub fn unfound(self) -> Self {
        Self { is_unfound: true, ..self }
    }

    /// Whether it stands for peers of which none has been found yet.
    #[must_use]
    pub fn is_unfound(&self) -> bool {
        self.is_unfound
    }

    /// The URL of the config that it was found behind, if it was found.
    #[must_use]
    pub fn found_behind(&self) -> Option<&PeerUrl> {
        self.found_behind.as_ref()
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

    /// How often each limit on its answers was reached.
    pub fn limited(&self) -> impl Iterator<Item = (PeerLimit, u64)> {
        PeerLimit::ALL.into_iter().zip(self.limited.iter().map(Counter::get))
    }

    fn limit(&self, limit: PeerLimit) {
        self.limited[limit as usize].count();
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
        if self.is_unfound {
            return failed(Failure::not_executed(
                ErrorCode::Unavailable,
                "none of the peers that this function runs on has been found yet",
            ));
        }
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
        if self.is_unfound {
            return "none of the peers behind it has been found yet".to_owned();
        }
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
        let found = self.found_behind.as_ref().map(|url| format!("found behind {url}, "));
        format!(
            "{}{fares}; {running} calls run there, an answer takes about {ms:.1} ms, priority {priority}, weight {weight}{}",
            found.unwrap_or_default(),
            self.describe_probe()
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
        let mut hops = invocation.hops.clone();
        hops.push(Arc::clone(host_id));
        RequestEnvelope {
            function: invocation.function.clone(),
            arguments,
            // Below a millisecond, 0 would mean that there is no deadline.
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX).max(1),
            hops,
            traceparent: invocation.traceparent.clone(),
            idempotency_key: invocation.key_for_peers(),
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
        let answer = self.client.post(&self.destination, frame).await.map_err(|error| {
            if let SendError::TooLarge(_) = error {
                self.limit(PeerLimit::AnswerSize);
            }
            Box::new(unsent(&error))
        })?;
        if answer.status == StatusCode::OK && answer.is_sealed {
            return wire::open_response(key, request_id, answer.body, &self.limits).map_err(|error| {
                if let ResponseError::Decode(error) = &error {
                    error.limit().map(PeerLimit::from).into_iter().for_each(|limit| self.limit(limit));
                }
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

/// Unix time in milliseconds.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
