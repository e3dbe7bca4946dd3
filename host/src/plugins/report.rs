//! What the admin API, the log and the command line get to know of plugins.

use std::time::{Duration, Instant, SystemTime};

use super::PluginError;
use crate::base::FunctionName;

/// What came of loading a directory.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Names of the plugins that are published.
    pub published: Vec<String>,
    /// What failed: the file or plugin, and why.
    pub failed: Vec<(String, PluginError)>,
    /// What is allowed and still likely not what the operator wants, one sentence each; in the log already.
    pub warnings: Vec<String>,
}

/// One plugin as the admin API shows it.
#[derive(Debug, Clone)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where its published generation stands, or the newest one if none is.
    pub state: &'static str,
    /// Number of the published generation.
    pub generation: u64,
    /// Digest of the file.
    pub sha256: String,
    /// Name of the operator's file.
    pub file: String,
    /// What it registered.
    pub functions: Vec<FunctionName>,
    /// Calls and replies that hold its code.
    pub in_flight: usize,
    /// Calls inside the plugin that did not pass through the host.
    pub direct_calls: u64,
    /// Bytes of its library that are mapped.
    pub mapped_bytes: u64,
    /// When it was published.
    pub published_at: SystemTime,
    /// Retired generations that are still mapped.
    pub zombies: Vec<Zombie>,
    /// Generations that `rollback` can bring back, newest first.
    pub kept: Vec<u64>,
}

/// A retired generation whose code is still mapped.
#[derive(Debug, Clone)]
pub struct Zombie {
    /// Its number.
    pub generation: u64,
    /// Why it is not unmapped.
    pub reason: String,
    /// Bytes of it that are mapped.
    pub mapped_bytes: u64,
}

/// One step of a change, and how long it took.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// `stage`, `load`, `start`, `publish`, `drain`, `stop`.
    pub step: &'static str,
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
    pub steps: Vec<Step>,
    /// Calls that were dropped at the drain deadline.
    pub cancelled_calls: usize,
}

/// Times the steps of a change.
#[derive(Debug)]
pub(super) struct Stopwatch {
    begun: Instant,
    steps: Vec<Step>,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { begun: Instant::now(), steps: Vec::new() }
    }

    /// Ends a step; the next one begins.
    pub(super) fn lap(&mut self, step: &'static str) {
        self.steps.push(Step { step, took: self.begun.elapsed() });
        self.begun = Instant::now();
    }

    pub(super) fn steps(self) -> Vec<Step> {
        self.steps
    }
}
