//! The end of a generation: its calls drain, `on_stop` runs, and its library is unmapped. A generation that stays in use
//! past all deadlines is abandoned: stopped once it is no longer in use, or never.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;

use super::Lifecycle;
use super::start::Ready;
use crate::config::Unmap;
use crate::plugins::load::generation::Generation;
use crate::plugins::load::unmap::unmap;
use crate::plugins::registry::entry::{Entry, Published};
use crate::plugins::registry::stopwatch::Stopwatch;
use crate::plugins::step::LifecycleStep;

/// Time limit of `on_stop`.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that cancelled calls have to end.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

impl Lifecycle {
    /// Stops all plugins: no new calls, then `on_stop` of each once its last call has ended.
    ///
    /// A plugin that does not drain in time is left as it is: its code may still be in use.
    pub(crate) async fn stop_all(&self, drain_timeout: Duration) {
        self.stopping.store(true, Ordering::Relaxed);
        self.abandoned.token().cancel();
        let deadline = tokio::time::Instant::now() + drain_timeout;
        let all = self.registry.all();
        join_all(all.into_iter().map(|(name, entry)| self.stop_one(name, entry, deadline))).await;
    }

    async fn stop_one(&self, name: String, entry: Arc<Entry>, deadline: tokio::time::Instant) {
        // A change that is under way ends first; it is bounded by its own deadlines.
        let Ok(_lock) = tokio::time::timeout_at(deadline, entry.change_lock.lock()).await else {
            return tracing::warn!(plugin = name, "not stopped: a change of it did not end");
        };
        let Some(old) = entry.state().published.take() else { return };
        if let Err(error) = self.table.publish(vec![(name.as_str().into(), Vec::new())]) {
            tracing::error!(plugin = name, "{error}");
        }
        self.tell_change();
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        self.retire(&entry, old, left, &mut Stopwatch::start("stop")).await;
    }

    /// Waits for the last call of a generation that is out of the table, then stops it.
    ///
    /// Past the deadline its calls are dropped. Returns their number.
    pub(crate) async fn retire(
        &self,
        entry: &Arc<Entry>,
        old: Published,
        drain_timeout: Duration,
        watch: &mut Stopwatch,
    ) -> usize {
        let Published { generation, lease, .. } = old;
        watch.begin(LifecycleStep::Drain);
        let leases = lease.downgrade();
        generation.refuse_own_calls();
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
            watch.begin(LifecycleStep::Stop);
            generation.stop(STOP_TIMEOUT).await;
            watch.begin(LifecycleStep::Retire);
            self.unmap(entry, &generation).await;
        } else {
            self.abandon(entry, &generation);
        }
        entry.state().draining = false;
        if !self.is_stopping() {
            entry.keep(&generation, self.config().reload.keep_generations);
        }
        cancelled_calls
    }

    /// Stops a generation that was started and will not be published.
    pub(crate) async fn stop_unpublished(&self, ready: Ready) {
        let Ready { lock, generation, functions, lease, .. } = ready;
        generation.refuse_own_calls();
        drop((functions, lease));
        if generation.leases.drain(STOP_TIMEOUT).await {
            generation.stop(STOP_TIMEOUT).await;
            self.unmap(&lock.entry, &generation).await;
        } else {
            self.abandon(&lock.entry, &generation);
        }
    }

    /// Gives up waiting for a generation that is still in use past all deadlines. A task stops and unmaps it once the last
    /// lease is gone, if the host lives that long.
    fn abandon(&self, entry: &Arc<Entry>, generation: &Arc<Generation>) {
        let (plugin, number) = (Arc::clone(&generation.plugin), generation.number);
        tracing::warn!(
            plugin = &*plugin,
            generation = number,
            "not stopped: something of it is still in use"
        );
        let reason = "its calls did not end, even when cancelled, or something of it is still in use";
        entry.note_mapped(number, &generation.staged.copy, reason);
        let (entry, generation) = (Arc::clone(entry), Arc::clone(generation));
        let (config, ending) = (self.config(), self.abandoned.token().clone());
        self.abandoned.spawn(async move {
            tokio::select! {
                () = ending.cancelled() => return,
                () = generation.leases.drained() => {}
            }
            generation.stop(STOP_TIMEOUT).await;
            unmap_or_record(&entry, &generation, config.reload.unmap).await;
            tracing::info!(plugin = &*plugin, generation = number, "stopped at last");
        });
    }

    /// Unmaps the library of a generation that was stopped, or notes why it stays mapped.
    pub(super) async fn unmap(&self, entry: &Entry, generation: &Arc<Generation>) {
        // While the host stops, its workers end, and the process with them: unmapping gains nothing.
        if !self.is_stopping() {
            unmap_or_record(entry, generation, self.config().reload.unmap).await;
        }
    }
}

async fn unmap_or_record(entry: &Entry, generation: &Arc<Generation>, choice: Unmap) {
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
