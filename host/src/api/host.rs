//! The host itself: its identity, its liveness and its readiness.

use serde::{Deserialize, Serialize};

use super::FailedPlugin;

/// `GET /admin/v1/host`: which host this is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostView {
    /// Its id.
    pub host_id: String,
    /// Its config file, absolute and without links.
    pub config: String,
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
}

/// `GET /health`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AliveView {
    /// Always `ok`.
    pub status: String,
    /// Id of the host.
    pub host_id: String,
    /// Version of the host.
    pub version: String,
}

/// `GET /ready`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadyView {
    /// [`ReadyView::READY`], or `stopping`.
    pub status: String,
    /// The reason why the host is not ready.
    pub reason: Option<String>,
    /// Problems that do not keep the host from serving, one sentence each.
    pub warnings: Vec<String>,
    /// Id of the host.
    pub host_id: String,
    /// Names of the published plugins.
    pub plugins: Vec<String>,
    /// Plugins and files that are not served.
    pub failed_plugins: Vec<FailedPlugin>,
    /// The difference between the config on disk and the one in force, if there is one.
    pub config_not_in_force: Option<ConfigGapView>,
    /// Age of the process in milliseconds.
    pub uptime_ms: u64,
}

impl ReadyView {
    /// The status of a host that serves and is not about to stop.
    pub const READY: &str = "ready";
    /// The status of a host that was told to stop.
    pub const STOPPING: &str = "stopping";
}

/// A config on disk that is not the one in force.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigGapView {
    /// When they began to differ (RFC 3339), if that is known.
    pub since: Option<String>,
    /// The difference, in a sentence; not for clients that have shown no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
