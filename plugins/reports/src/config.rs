//! `[plugins.reports]` of the host's configuration. Every key is optional.

use std::path::PathBuf;

use framex_sdk::model;

/// Most connections that may be configured: each is a thread and a page cache.
pub(crate) const CONNECTIONS_MAX: u32 = 32;

/// What the operator configures for this plugin.
#[model]
pub(crate) struct Config {
    /// The SQLite file. Without it this host has no database, and calls must be routed to one that has.
    ///
    /// Write an absolute path: a relative one counts from the directory that the host was started in,
    /// not from the config file.
    pub(crate) database: Option<PathBuf>,
    /// Whether a missing file is made at start, from the data set inside the plugin.
    #[serde(default)]
    pub(crate) create: bool,
    /// Connections at one time, 1 to 32.
    #[serde(default = "default_connections_max")]
    pub(crate) connections_max: u32,
    /// A call that takes at least so many milliseconds is logged.
    #[serde(default = "default_slow_query_ms")]
    pub(crate) slow_query_ms: u64,
}

fn default_connections_max() -> u32 {
    4
}

fn default_slow_query_ms() -> u64 {
    200
}
