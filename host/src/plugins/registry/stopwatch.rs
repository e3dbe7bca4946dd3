//! Times the steps of a change, and shows in the entry how far it is.

use std::sync::Arc;
use std::time::Instant;

use super::entry::Entry;
use crate::plugins::life::{LifecycleStep, PluginAction};
use crate::plugins::status::{Progress, StepTime};

/// Times the steps of a change, and shows how far it is.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    progress: Progress,
    shown_in: Option<Arc<Entry>>,
}

impl Stopwatch {
    /// The change begins, with the step `stage`.
    pub(crate) fn start(action: PluginAction) -> Self {
        let progress =
            Progress { action, step: LifecycleStep::Stage, since: Instant::now(), done: Vec::new() };
        Self { progress, shown_in: None }
    }

    /// From now on `entry`, whose turn the change has, shows how far it is.
    pub(crate) fn show_in(&mut self, entry: &Arc<Entry>) {
        entry.state().change = Some(self.progress.clone());
        self.shown_in = Some(Arc::clone(entry));
    }

    /// A step ends and the next one begins.
    pub(crate) fn begin(&mut self, step: LifecycleStep) {
        self.end_step();
        self.progress.step = step;
        if let Some(entry) = &self.shown_in {
            entry.state().change = Some(self.progress.clone());
        }
    }

    /// The last step ends.
    pub(crate) fn steps(mut self) -> Vec<StepTime> {
        self.end_step();
        std::mem::take(&mut self.progress.done)
    }

    fn end_step(&mut self) {
        let Progress { step, since, .. } = self.progress;
        self.progress.done.push(StepTime { step, took: since.elapsed() });
        self.progress.since = Instant::now();
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        if let Some(entry) = &self.shown_in {
            entry.state().change = None;
        }
    }
}
