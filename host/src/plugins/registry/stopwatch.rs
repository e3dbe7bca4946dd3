//! Times the steps of a change, and shows in the entry how far it is.

use std::sync::Arc;
use std::time::Instant;

use super::entry::Entry;
use crate::api::{ProgressView, StepView, milliseconds_of};
use crate::plugins::step::LifecycleStep;

/// Times the steps of a change, and shows how far it is.
pub(crate) struct Stopwatch {
    progress: ProgressView,
    step_began: Instant,
    shown_in: Option<Arc<Entry>>,
}

impl Stopwatch {
    /// The change begins, with the step `stage`. `action` is the word of the admin API for it.
    pub(crate) fn start(action: &str) -> Self {
        let (action, step) = (action.to_owned(), LifecycleStep::Stage.as_str().to_owned());
        let progress = ProgressView { action, step, ..ProgressView::default() };
        Self { progress, step_began: Instant::now(), shown_in: None }
    }

    /// From now on `entry`, whose turn the change has, shows how far it is.
    pub(crate) fn shown_in(mut self, entry: &Arc<Entry>) -> Self {
        self.shown_in = Some(Arc::clone(entry));
        self.show();
        self
    }

    fn show(&self) {
        if let Some(entry) = &self.shown_in {
            entry.state().change = Some((self.progress.clone(), self.step_began));
        }
    }

    /// A step ends and the next one begins.
    pub(crate) fn begin(&mut self, step: LifecycleStep) {
        self.end_step();
        self.progress.step = step.as_str().to_owned();
        self.show();
    }

    /// The last step ends.
    pub(crate) fn steps(mut self) -> Vec<StepView> {
        self.end_step();
        std::mem::take(&mut self.progress.done)
    }

    fn end_step(&mut self) {
        let ms = milliseconds_of(self.step_began.elapsed());
        self.progress.done.push(StepView { step: self.progress.step.clone(), ms });
        self.step_began = Instant::now();
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        if let Some(entry) = &self.shown_in {
            entry.state().change = None;
        }
    }
}
