//! The bodies of the admin API's requests. Each is optional, except where a field has no default.

use serde::{Deserialize, Serialize};

/// Options of a reload, of one plugin or of the whole host.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReloadOptions {
    /// Publishes the new build even if callers of the old one break.
    pub allow_breaking: bool,
}

/// Options of a rollback.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackOptions {
    /// The generation to bring back; by default the newest one that is kept.
    pub generation: Option<u64>,
}

/// Options of an unload: none so far.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnloadOptions {}

/// The plugin to load.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadOptions {
    /// Name of a file in the plugin directory.
    pub file: String,
}
