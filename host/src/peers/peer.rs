//! One peer: seals a call, sends it, and believes only what opens.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::acquaintance::{Binding, Met};
use super::client::Destination;
use super::connections::Connections;
use super::health::{Admission, Health};
use super::history::History;
use super::known::Known;
use super::load::Latency;
use super::{Bulkhead, Cause, Client, Cure, Moment};
use crate::base::{Counter, ErrorCode, Failure, FunctionName, HostId, Invocation, Outcome, Place};
use crate::config::{PeerUrl, REMOTE_PATH};
use crate::functions::CallStats;
use crate::wire::{Compression, KeyId, KeySet, Limits};

mod attempt;
mod calling;
mod condition;
mod exchange;
mod failures;
mod hello;
mod limit;
mod offering;
mod progress;

pub use condition::Condition;
pub use limit::PeerLimit;
pub use offering::Allowed;

use calling::Calling;
use failures::for_callers;
use offering::Reach;
use progress::Progress;

/// How many answers that come too late are waited for at once.
const LATE_MAX: usize = 16;

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
    connections: Connections,
    compression: Compression,
    limits: Limits,
    binding: Binding,
    standing: Standing,
    stats: CallStats,
    health: Health,
    history: History,
    latency: Latency,
    /// For answers that come too late.
    late: Arc<Semaphore>,
    /// Answers that were more than is taken, by [`PeerLimit`].
    limited: [Counter; PeerLimit::ALL.len()],
    /// Frames that were sent once more, as the kept connection that they were sent over broke.
    repeated: Counter,
    reach: Reach,
    known: Arc<Known>,
    /// What it failed of last is not cured by time.
    stays_failed: AtomicBool,
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

/// The same, with what may cure it that the call has no result; of one that has, that means nothing.
#[derive(Debug)]
pub struct Answered {
    /// What came of the call.
    pub answer: Answer,
    /// What may come to another end.
    pub cure: Cure,
    /// The host that the call was sent to, where it has an idempotency key and its frame named a host.
    pub sent_to: Option<HostId>,
}

/// A call that may go to a peer now. It must be made, or given back.
#[derive(Debug)]
pub struct Admitted {
    /// It finds out whether the peer is back.
    pub is_trial: bool,
    _place: Place,
}

/// Whether a call may go to a peer now.
#[derive(Debug)]
pub enum Entry {
    /// Yes.
    In(Admitted),
    /// No, until then at least: it is left alone.
    NotBefore(Instant),
    /// No: as many run there as may.
    Full,
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
        (standing, binding): (Standing, Binding),
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
            connections: Connections::new(client.idle_timeout()),
            client,
            compression,
            limits,
            binding,
            standing,
            stats: CallStats::default(),
            health: Health::default(),
            history: History::default(),
            latency: Latency::default(),
            late: Arc::new(Semaphore::new(LATE_MAX)),
            limited: Default::default(),
            repeated: Counter::default(),
            stays_failed: AtomicBool::new(false),
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

    /// What becomes of a call of `function` where none of its peers has been found yet.
    #[must_use]
    pub fn unfound_failure(function: &FunctionName) -> Failure {
        let text = format!("none of the peers that function `{function}` runs on has been found yet");
        Failure::not_executed(ErrorCode::Unavailable, text)
    }

    /// The URL of the config that it was found behind, if it was found.
    #[must_use]
    pub fn found_behind(&self) -> Option<&PeerUrl> {
        self.found_behind.as_ref()
    }

    /// Whether the URL leads back to this very process, as hellos have proven within the last seconds.
    #[must_use]
    pub fn is_itself(&self) -> bool {
        self.known.acquaintance.is_itself()
    }

    /// Who answered at the URL last, and when.
    #[must_use]
    pub fn met(&self) -> Option<(Moment, Met)> {
        self.known.acquaintance.last()
    }

    /// What the config asks of those who answer at the URL.
    #[must_use]
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn close_idle(&self) {
        self.connections.close_idle();
    }

    /// What to add to our clock to have the one that the peer asked for, in milliseconds.
    #[must_use]
    pub fn clock_offset_ms(&self) -> i64 {
        self.clock_offset_ms.load(Ordering::Relaxed)
    }

    /// The id of the key that seals calls to it, if this host has one.
    #[must_use]
    pub fn key_id(&self) -> Option<KeyId> {
        self.key.as_ref().map(|key| key.id())
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

    /// How many frames were sent once more, as the kept connection that they were sent over broke.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated.get()
    }

    pub(crate) fn limit(&self, limit: PeerLimit) {
        self.limited[limit as usize].count();
    }

    /// Calls `invocation.function` there, within its deadline; if `only` names a host, on that host or not at all.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection, so that the peer drops the call as well.
    pub async fn call(
        self: &Arc<Self>,
        invocation: &Invocation,
        arguments: Bytes,
        admitted: Admitted,
        only: Option<&HostId>,
    ) -> Answered {
        if self.is_unfound {
            self.give_back(admitted);
            let failure = Self::unfound_failure(&invocation.function);
            let (answer, cure) = (failed(failure), Cause::Unfound.cure());
            return Answered { answer, cure, sent_to: None };
        }
        let Admitted { is_trial, _place } = admitted;
        let mut calling = Calling::begin(self, is_trial);
        let progress = Arc::new(Progress::to(only));
        let answer = self.call_uncounted(invocation, arguments, &progress, &mut calling).await;
        calling.end(&answer);
        let cure = calling.cure(&answer);
        let answer = for_callers(answer, &invocation.function, calling.cause());
        Answered { answer, cure, sent_to: progress.sent_to() }
    }

    /// Whether a call may go to it now.
    pub(crate) fn enter(&self, now: Instant) -> Entry {
        match self.health.admit(now) {
            Admission::No(until) => Entry::NotBefore(until),
            // Where all places are taken by calls that a peer never answers, it must still be found out that it is back.
            Admission::Trial => {
                Entry::In(Admitted { is_trial: true, _place: self.bulkhead().enter_anyway() })
            }
            Admission::Yes => {
                let place = self.bulkhead().enter();
                place.map_or(Entry::Full, |_place| Entry::In(Admitted { is_trial: false, _place }))
            }
        }
    }

    /// How many calls run there and wait for it.
    #[must_use]
    pub fn bulkhead(&self) -> &Bulkhead {
        &self.known.bulkhead
    }

    /// Whether time may cure what it failed of last.
    pub(crate) fn may_recover(&self) -> bool {
        !self.stays_failed.load(Ordering::Relaxed)
    }

    fn note_cure(&self, cure: Cure) {
        self.stays_failed.store(cure < Cure::Time, Ordering::Relaxed);
    }

    /// Whether a call could go to it now.
    #[must_use]
    pub fn look(&self, now: Instant) -> Admission {
        self.health.look(now)
    }

    /// A call that was admitted is not made.
    pub(crate) fn give_back(&self, admitted: Admitted) {
        self.give_back_trial(admitted.is_trial);
    }

    fn give_back_trial(&self, is_trial: bool) {
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

    /// Notes that a call failed, after so long.
    fn failed(&self, took: Duration, is_trial: bool) {
        let now = Instant::now();
        self.latency.failed(took, now);
        if self.health.failed(now, is_trial, rand::random()) {
            self.known.has_failed.notify_one();
            tracing::warn!(peer = %self.url, "the peer is not called for a while: {}", self.describe());
        }
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
