//! Peers and their health.

use serde::{Deserialize, Serialize};

/// `GET /admin/v1/peers`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeersView {
    /// The peers.
    pub peers: Vec<PeerView>,
    /// The host's time (RFC 3339).
    pub now: String,
}

/// One peer. Times are RFC 3339.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerView {
    /// Its URL.
    pub url: String,
    /// The URL that discovery found it behind, if the config names that one.
    pub found_behind: Option<String>,
    /// `not_found_yet`, `no_key`, `itself`, `unknown`, `ok`, `failing` or `paused`.
    pub health: String,
    /// When it began to fail.
    pub failing_since: Option<String>,
    /// Number of failures since then.
    pub failures: u64,
    /// When it gets calls again, if it gets none now.
    pub paused_until: Option<String>,
    /// When it answered last.
    pub last_success_at: Option<String>,
    /// Its last failure.
    pub last_error: Option<LastErrorView>,
    /// Id of the key that seals calls to it.
    pub key_id: Option<String>,
    /// This host has a key that seals calls to it.
    pub has_key: bool,
    /// Number of running calls.
    pub running: usize,
    /// Number of calls that wait for it.
    pub waiting: usize,
    /// Maximum number of running calls, if it has one.
    pub in_flight_max: Option<usize>,
    /// Peers of a lower number are called first.
    pub priority: u8,
    /// Its share of the calls, relative to other peers.
    pub weight: u16,
    /// The URL leads back to this host.
    pub itself: bool,
    /// Offset of its clock in milliseconds.
    pub clock_offset_ms: i64,
    /// The functions that it offers.
    pub catalogue: PeerCatalogueView,
    /// Its last readiness probe.
    pub last_probe: Option<ProbeView>,
    /// Connections to it use TLS.
    pub encrypted: bool,
    /// The only host that may answer.
    pub pinned: Option<String>,
    /// Calls name the process that they are for.
    pub bind: bool,
    /// The host that answered at its URL last.
    pub answered: Option<AnsweredView>,
}

/// A peer's last failure.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LastErrorView {
    /// When it happened.
    pub at: String,
    /// The kind of failure.
    pub cause: String,
    /// The failure in a sentence.
    pub reason: String,
}

/// A peer's catalogue.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerCatalogueView {
    /// This host asks for it.
    pub asked: bool,
    /// Number of functions in it.
    pub functions: Option<usize>,
    /// The host id in it.
    pub host_id: Option<String>,
    /// When it was fetched.
    pub fetched_at: Option<String>,
    /// The last fetch that failed.
    pub last_failure: Option<FailedFetchView>,
}

/// A fetch of a catalogue that failed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedFetchView {
    /// When it failed.
    pub at: String,
    /// The cause.
    pub reason: String,
}

/// A readiness probe.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeView {
    /// When it ended.
    pub at: String,
    /// Its result.
    pub result: String,
}

/// The host that answered at a peer's URL.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AnsweredView {
    /// When it answered.
    pub at: String,
    /// It is this host.
    pub itself: bool,
    /// It has proven its process, and calls name that.
    pub bound: bool,
    /// Its id.
    pub host_id: Option<String>,
    /// Its process.
    pub instance: Option<String>,
}
