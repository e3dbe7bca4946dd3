//! Plugins, the options of changes to them, and the results.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::FunctionName;

/// `GET /admin/v1/plugins`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginsView {
    /// The loaded plugins.
    pub plugins: Vec<PluginView>,
    /// Files and plugins that are not served.
    pub failed_plugins: Vec<FailedPlugin>,
}

/// One plugin, as `GET /admin/v1/plugins/NAME` has it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginView {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `published` if a generation serves; else that of the newest one, `draining` or `retired`.
    pub state: String,
    /// Number of the published generation.
    pub generation: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Name of the operator's file.
    pub file: String,
    /// Names of the functions that it registered.
    pub functions: Vec<FunctionName>,
    /// Calls and replies that hold its code.
    pub in_flight: usize,
    /// Calls inside the plugin that did not pass through the host.
    pub direct_calls: u64,
    /// Number of failures of the layers of each function, for functions with failures; for metrics alone.
    #[serde(skip)]
    pub layer_failures: Vec<(FunctionName, u32)>,
    /// Mapped bytes of its library.
    pub mapped_bytes: u64,
    /// Changes that its code made to the process, one sentence each.
    pub warnings: Vec<String>,
    /// Retired generations that are still mapped.
    pub zombies: Vec<ZombieView>,
    /// Generations that `rollback` can bring back, newest first.
    pub kept: Vec<u64>,
    /// When it was published (RFC 3339).
    pub published_at: String,
    /// The difference between its file and what serves, if there is one.
    pub differs_from_file: Option<DifferenceView>,
    /// The change that is under way.
    pub change: Option<ProgressView>,
    /// The last change that failed, if none has succeeded since.
    pub last_failure: Option<FailedChangeView>,
}

impl PluginView {
    /// The state of a plugin with a generation that serves.
    pub(crate) const PUBLISHED: &str = "published";

    /// Returns true if a generation serves.
    pub fn is_published(&self) -> bool {
        self.state == Self::PUBLISHED
    }
}

/// A difference between a plugin's file and what serves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DifferenceView {
    /// The difference, in a sentence.
    pub reason: String,
    /// When it began (RFC 3339), if that is known.
    pub since: Option<String>,
}

/// A retired generation whose code is still mapped.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ZombieView {
    /// Its number.
    pub generation: u64,
    /// The reason why it is not unmapped.
    pub reason: String,
    /// Mapped bytes of its library.
    pub mapped_bytes: u64,
}

/// A finished step of a change.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StepView {
    /// Its name.
    pub step: String,
    /// Its duration in milliseconds.
    pub ms: f64,
}

/// Returns a duration in milliseconds, with three digits behind the point.
pub(crate) fn milliseconds_of(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A change that is under way.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressView {
    /// `reload`, `load`, `rollback` or `unload`.
    pub action: String,
    /// The current step.
    pub step: String,
    /// Milliseconds since that step began.
    pub ms: f64,
    /// The finished steps.
    pub done: Vec<StepView>,
}

/// A change that failed, and so changed nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedChangeView {
    /// The step that failed.
    pub step: String,
    /// The cause.
    pub reason: String,
    /// When it failed (RFC 3339).
    pub at: String,
}

/// A plugin or file that is not served, or that made a reload fail.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedPlugin {
    /// Name of the plugin, or of the file where the name is not known.
    pub plugin: String,
    /// The step that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The cause; not for clients that have shown no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it began to fail (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// A finished change of one plugin.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeView {
    /// Its name.
    pub plugin: String,
    /// The generation that is published now; none after `unload`.
    pub generation: Option<u64>,
    /// The generation that was published before.
    pub previous: Option<u64>,
    /// SHA-256 of what is published now, in hex.
    pub sha256: Option<String>,
    /// The steps, in order.
    pub steps: Vec<StepView>,
    /// Calls that were dropped at the drain deadline.
    pub cancelled_calls: usize,
}

/// A finished reload of the whole host.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadView {
    /// The plugins that were loaded, replaced or withdrawn.
    pub plugins: Vec<ChangeView>,
    /// Names of the plugins that were not touched.
    pub unchanged: Vec<String>,
    /// Changed keys of the config that take effect at the next start.
    pub restart_required: Vec<String>,
    /// Oddities of the config and of the plugin directory, one sentence each.
    pub warnings: Vec<String>,
}

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
