//! One peer: its specification, and what this host has learnt of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::transport::Destination;
use super::{Breaker, BreakerPermit, BreakerState, Bulkhead, Client, Cure, History, Latency, Timestamp};
use crate::api::REMOTE_PATH;
use crate::base::{Counter, Permit};
use crate::config::PeerUrl;
use crate::functions::CallStats;

mod call;
mod condition;
mod hello;
mod info;
mod limit;
mod offering;
mod probes;
mod spec;

pub use call::{PeerAnswer, PeerResult};
pub use condition::Condition;
pub use hello::{Binding, Responder};
pub use info::{FetchResult, LastChecks, PeerInfo, ProbeResult};
pub use limit::PeerLimit;
pub use probes::Probes;
pub use spec::{PeerSpec, Rank};

use hello::ConnectionPool;
use probes::ProbeTargets;

/// The number of late answers that are waited for at once.
const LATE_MAX: usize = 16;

/// One peer.
pub struct Peer {
    spec: PeerSpec,
    destination: Destination,
    targets: ProbeTargets,
    connections: ConnectionPool,
    stats: CallStats,
    breaker: Arc<Breaker>,
    history: History,
    latency: Latency,
    /// Permits to wait for late answers.
    late: Arc<Semaphore>,
    /// The counts of answers above a limit, by [`PeerLimit`].
    limited: [Counter; PeerLimit::ALL.len()],
    /// Frames that were sent again because their kept connection broke.
    repeated: Counter,
    info: Arc<PeerInfo>,
    /// The cause of its last failure is not cured by time.
    stays_failed: AtomicBool,
    /// The milliseconds to add to this host's clock to get the peer's.
    clock_offset_ms: AtomicI64,
}

/// Leave for one call to a peer now. Dropping it without a call lets another one go.
#[derive(Debug)]
pub struct PeerPermit {
    breaker: BreakerPermit,
    _in_flight: Permit,
}

/// The reason why a peer takes no call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPermit {
    /// Its breaker is open until this time at least.
    NotBefore(Instant),
    /// It runs as many calls of this host as it may.
    Full,
}

impl PeerPermit {
    /// Returns true if the call finds out whether the peer is back.
    pub fn is_trial(&self) -> bool {
        self.breaker.is_trial()
    }
}

impl Peer {
    /// Returns `before` if its specification is equal, and else a new peer, which keeps what `before` knows of the URL.
    pub fn renew(spec: PeerSpec, before: Option<&Arc<Self>>) -> Arc<Self> {
        match before {
            Some(before) if before.spec == spec => Arc::clone(before),
            _ => Arc::new(Self::new(spec, before.map(|before| Arc::clone(&before.info)).unwrap_or_default())),
        }
    }

    fn new(spec: PeerSpec, info: Arc<PeerInfo>) -> Self {
        Self {
            destination: spec.client.destination(spec.url.uri(REMOTE_PATH)),
            targets: ProbeTargets::new(&spec.client, &spec.url),
            connections: ConnectionPool::new(spec.client.idle_timeout()),
            spec,
            stats: CallStats::default(),
            breaker: Arc::default(),
            history: History::default(),
            latency: Latency::default(),
            late: Arc::new(Semaphore::new(LATE_MAX)),
            limited: Default::default(),
            repeated: Counter::default(),
            info,
            stays_failed: AtomicBool::new(false),
            clock_offset_ms: AtomicI64::new(0),
        }
    }

    /// Its specification.
    pub fn spec(&self) -> &PeerSpec {
        &self.spec
    }

    /// Its URL.
    pub fn url(&self) -> &PeerUrl {
        &self.spec.url
    }

    /// Returns true if the URL leads back to this very process, as hellos have proven within the last seconds.
    pub fn is_itself(&self) -> bool {
        self.info.responders.is_itself()
    }

    /// The last host that answered at the URL, and when.
    pub fn last_responder(&self) -> Option<(Timestamp, Responder)> {
        self.info.responders.last()
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn close_idle(&self) {
        self.connections.close_idle();
    }

    pub(super) fn client(&self) -> &Client {
        &self.spec.client
    }

    /// The milliseconds to add to this host's clock to get the peer's.
    pub fn clock_offset_ms(&self) -> i64 {
        self.clock_offset_ms.load(Ordering::Relaxed)
    }

    /// The counts of its calls.
    pub fn stats(&self) -> &CallStats {
        &self.stats
    }

    /// The number of times that each limit on its answers was reached.
    pub fn limited(&self) -> impl Iterator<Item = (PeerLimit, u64)> {
        PeerLimit::ALL.into_iter().zip(self.limited.iter().map(Counter::get))
    }

    /// The number of frames that were sent again because their kept connection broke.
    pub fn repeated(&self) -> u64 {
        self.repeated.get()
    }

    pub(crate) fn limit(&self, limit: PeerLimit) {
        self.limited[limit as usize].count();
    }

    /// Admits a call now, within the limit of calls that run there.
    pub(crate) fn acquire(&self, now: Instant) -> Result<PeerPermit, NoPermit> {
        let breaker = self.breaker.acquire(now).map_err(NoPermit::NotBefore)?;
        // A trial runs beyond the limit: calls that the peer never answers may hold all places.
        let place = if breaker.is_trial() {
            Some(self.bulkhead().acquire_anyway())
        } else {
            self.bulkhead().acquire()
        };
        place.map(|_in_flight| PeerPermit { breaker, _in_flight }).ok_or(NoPermit::Full)
    }

    /// The limits on calls that run there and that wait for it.
    pub fn bulkhead(&self) -> &Bulkhead {
        &self.info.bulkhead
    }

    /// Returns true if time may cure the cause of its last failure.
    pub(crate) fn may_recover(&self) -> bool {
        !self.stays_failed.load(Ordering::Relaxed)
    }

    fn note_cure(&self, cure: Cure) {
        self.stays_failed.store(cure < Cure::Time, Ordering::Relaxed);
    }

    /// The state of its breaker.
    pub fn breaker_state(&self, now: Instant) -> BreakerState {
        self.breaker.peek(now)
    }

    /// Its part of the calls now, above 0: less than configured for a while after its recovery.
    pub fn weight(&self, now: Instant) -> f64 {
        f64::from(self.spec.rank.weight.max(1)) * self.breaker.share(now)
    }

    /// The seconds that the next answer is expected to take, times the calls that wait for one.
    pub fn load(&self, now: Instant) -> f64 {
        self.latency.seconds(now) * (self.stats.running() + 1) as f64
    }

    /// Records that a call failed after `took`.
    fn record_failure(&self, permit: BreakerPermit, took: Duration) {
        let now = Instant::now();
        self.latency.record_failure(took, now);
        if self.breaker.record_failure(permit, now, rand::random()) {
            self.info.has_failed.notify_one();
            tracing::warn!(peer = %self.spec.url, "the peer is not called for a while: {}", self.describe());
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("url", &self.spec.url).finish_non_exhaustive()
    }
}
