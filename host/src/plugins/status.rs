//! Plugins as the admin API, the log and the command line show them.

use std::time::{Duration, Instant, SystemTime};

use crate::base::FunctionName;
use crate::plugins::error::PluginError;
use crate::plugins::life::{LifecycleStep, PluginAction, PluginState};

/// The outcome of loading a directory.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Names of the plugins that are published.
    pub published: Vec<String>,
    /// The files and plugins that failed, with the reason.
    pub failed: Vec<(String, PluginError)>,
    /// Warnings, one sentence each, which are in the log already.
    pub warnings: Vec<String>,
}

/// One plugin as the admin API shows it.
#[derive(Debug, Clone)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The state of its published generation, or of the newest one if none is.
    pub state: PluginState,
    /// Number of the published generation.
    pub generation: u64,
    /// Digest of the file.
    pub sha256: String,
    /// Name of the operator's file.
    pub file: String,
    /// The functions that it registered.
    pub functions: Vec<FunctionName>,
    /// Calls and replies that hold its code.
    pub in_flight: usize,
    /// Calls inside the plugin that did not pass through the host.
    pub direct_calls: u64,
    /// Number of failures of the layers of each function, for functions with failures.
    pub layer_failures: Vec<(FunctionName, u32)>,
    /// Bytes of its library that are mapped.
    pub mapped_bytes: u64,
    /// When it was published.
    pub published_at: SystemTime,
    /// Changes of the published code to the process, one sentence each.
    pub warnings: Vec<String>,
    /// Retired generations that are still mapped.
    pub zombies: Vec<Zombie>,
    /// Generations that `rollback` can bring back, newest first.
    pub kept: Vec<u64>,
    /// The difference between its file and the build that serves.
    pub differs_from_file: Option<Difference>,
    /// The change that is under way.
    pub change: Option<Progress>,
    /// The last change that failed, if none has succeeded since.
    pub last_failure: Option<LastFailure>,
}

/// A difference between a plugin's file and the build that serves.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The difference, in a sentence.
    pub reason: String,
    /// Since when, if that is known.
    pub since: Option<SystemTime>,
}

/// A retired generation whose code is still mapped.
#[derive(Debug, Clone)]
pub struct Zombie {
    /// Its number.
    pub generation: u64,
    /// The reason why it is not unmapped.
    pub reason: String,
    /// Bytes of it that are mapped.
    pub mapped_bytes: u64,
}

/// One step of a change, and how long it took.
#[derive(Debug, Clone, Copy)]
pub struct StepTime {
    /// The step.
    pub step: LifecycleStep,
    /// Its time.
    pub took: Duration,
}

/// A change of one plugin that is done.
#[derive(Debug, Clone)]
pub struct Change {
    /// The plugin.
    pub plugin: String,
    /// The generation that is published now; none after `unload`.
    pub generation: Option<u64>,
    /// The generation that was published before.
    pub previous: Option<u64>,
    /// Digest of what is published now.
    pub sha256: Option<String>,
    /// The steps, in order.
    pub steps: Vec<StepTime>,
    /// Calls that were dropped at the drain deadline.
    pub cancelled_calls: usize,
}

/// A change that is under way.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The change.
    pub action: PluginAction,
    /// The step that it is at.
    pub step: LifecycleStep,
    /// For how long.
    pub since: Instant,
    /// The steps that are done.
    pub done: Vec<StepTime>,
}

/// A change that failed; it has changed nothing.
#[derive(Debug, Clone)]
pub struct LastFailure {
    /// The step that failed.
    pub step: LifecycleStep,
    /// The reason.
    pub reason: String,
    /// When.
    pub at: SystemTime,
}
