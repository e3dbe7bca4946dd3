//! The end of a generation: its last calls, `on_stop`, and what becomes of its library.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::config::Unmap;
use crate::plugins::directory::Plugins;
use crate::plugins::load::generation::Generation;
use crate::plugins::load::unmap::unmap;
use crate::plugins::registry::entry::{Entry, Published};
use crate::plugins::registry::stopwatch::Stopwatch;

/// How long `on_stop` may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls may take to end once they were cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

impl Plugins {
    /// Waits for the last call of a generation that is out of the table, then stops it.
    ///
    /// Past the deadline its calls are dropped; answers how many.
    pub(crate) async fn retire(
        &self,
        entry: &Arc<Entry>,
        old: Published,
        drain_timeout: Duration,
        watch: &mut Stopwatch,
    ) -> usize {
        let Published { generation, lease, .. } = old;
        watch.begin("drain");
        let leases = lease.downgrade();
        generation.begin_retirement();
        drop(lease);
        entry.state().draining = true;
        let mut cancelled_calls = 0;
        let mut drained = generation.leases.drain(drain_timeout).await;
        if !drained {
            cancelled_calls = leases.count();
            tracing::warn!(
                plugin = &*generation.plugin,
                generation = generation.number,
                calls = cancelled_calls,
                "the drain deadline passed: calls are dropped"
            );
            generation.leases.cancel_calls();
            drained = generation.leases.drain(CANCEL_TIMEOUT).await;
        }
        if drained {
            watch.begin("stop");
            generation.stop(STOP_TIMEOUT).await;
            watch.begin("retire");
            self.lay_to_rest(entry, &generation).await;
        } else {
            self.end_later(entry, &generation);
        }
        entry.state().draining = false;
        if !self.is_stopping() {
            entry.keep(&generation, self.settings().keep_generations);
        }
        cancelled_calls
    }

    /// Stops a generation that was never published.
    pub(crate) async fn end(&self, entry: &Arc<Entry>, generation: &Arc<Generation>) {
        if generation.leases.drain(STOP_TIMEOUT).await {
            generation.stop(STOP_TIMEOUT).await;
            self.lay_to_rest(entry, generation).await;
        } else {
            self.end_later(entry, generation);
        }
    }

    /// Something holds on to the generation, past all deadlines: it is stopped when that lets go, or never.
    fn end_later(&self, entry: &Arc<Entry>, generation: &Arc<Generation>) {
        let (plugin, number) = (Arc::clone(&generation.plugin), generation.number);
        tracing::warn!(
            plugin = &*plugin,
            generation = number,
            "not stopped: something of it is still in use"
        );
        let reason = "its calls did not end, even when cancelled, or something of it is still in use";
        entry.note_mapped(number, &generation.staged.copy, reason);
        let (entry, generation) = (Arc::clone(entry), Arc::clone(generation));
        let (settings, ending) = (self.settings(), self.late.token().clone());
        self.late.spawn(async move {
            tokio::select! {
                () = ending.cancelled() => return,
                () = generation.leases.drained() => {}
            }
            generation.stop(STOP_TIMEOUT).await;
            lay_to_rest(&entry, &generation, settings.unmap).await;
            tracing::info!(plugin = &*plugin, generation = number, "stopped at last");
        });
    }

    /// Unmaps the library of a generation that was stopped, or notes why it stays mapped.
    pub(crate) async fn lay_to_rest(&self, entry: &Entry, generation: &Arc<Generation>) {
        // Otherwise workers are about to end, and the process with them: nothing is to be gained.
        if !self.stopping.load(Ordering::Relaxed) {
            lay_to_rest(entry, generation, self.settings().unmap).await;
        }
    }
}

async fn lay_to_rest(entry: &Entry, generation: &Arc<Generation>, choice: Unmap) {
    let unmapped = match choice {
        Unmap::Safe => unmap(generation).await,
        Unmap::Never => Err("[reload] unmap = \"never\"".to_owned()),
    };
    if let Err(reason) = unmapped {
        let (plugin, number) = (&*generation.plugin, generation.number);
        tracing::warn!(plugin, generation = number, reason, "the library stays mapped");
        entry.note_mapped(number, &generation.staged.copy, reason);
    }
}
