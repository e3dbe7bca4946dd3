//! The shutdown of a host, step by step: not ready and still serving; no new connections; the drain; the plugins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::reloader::Reloader;
use super::signals::SIGINT;
use crate::base::{Tasks, milliseconds};

/// The time for answers after the drain deadline, once all calls are given up.
const ANSWER_GRACE: Duration = Duration::from_millis(500);
/// The time for plugins to stop, beyond their own deadlines.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// The time for dropped tasks to vanish, and for workers to show that they are free.
const DROP_GRACE: Duration = Duration::from_secs(1);

/// The shutdown of a daemon. It runs outside of the workers, and waits for none of them without a deadline.
pub(super) struct Shutdown<'a> {
    pub(super) reloader: &'a Reloader,
    /// The runtime of the workers.
    pub(super) workers: &'a Handle,
    /// The owner of the listeners, their connections and the calls from them.
    pub(super) tasks: &'a Tasks,
    /// The owner of the changes that the admin API was asked for.
    pub(super) changes: &'a Tasks,
}

impl Shutdown<'_> {
    /// Shuts down after a signal.
    pub(super) async fn run(self, signal: i32) {
        self.reloader.service().ending.announce();
        self.serve_on(signal).await;
        let drain_timeout = self.reloader.config().server.drain_timeout;
        let drain_timeout_ms = milliseconds(drain_timeout);
        tracing::info!(signal, drain_timeout_ms, "stopping: calls in flight may end");
        let deadline = Instant::now() + drain_timeout;
        if !self.tasks.end(drain_timeout).await {
            self.give_up().await;
        }
        let left = || deadline.saturating_duration_since(Instant::now());
        self.reloader.service().router.end(left()).await;
        self.stop_plugins(left().max(DROP_GRACE)).await;
        self.changes.end(DROP_GRACE).await;
        self.reloader.client_tasks().end(DROP_GRACE).await;
    }

    /// Serves on for a while, so that load balancers and other hosts can learn of the shutdown. Not after SIGINT, which
    /// comes from a terminal.
    async fn serve_on(&self, signal: i32) {
        let shutdown_delay = self.reloader.config().server.shutdown_delay;
        if signal == SIGINT || shutdown_delay.is_zero() {
            return;
        }
        let shutdown_delay_ms = milliseconds(shutdown_delay);
        tracing::info!(
            signal,
            shutdown_delay_ms,
            "stopping: not ready any more, and still serving for a while"
        );
        tokio::time::sleep(shutdown_delay).await;
    }

    /// Ends the calls that are in flight at the drain deadline: they are answered, and connections that do not take the
    /// answer are dropped.
    async fn give_up(&self) {
        tracing::warn!(
            connections = self.tasks.count(),
            "the drain deadline passed with calls in flight: they are dropped"
        );
        // Calls that run in a plugin are answered with `executed: true`.
        self.reloader.plugins().cancel_calls();
        if self.tasks.end(ANSWER_GRACE).await {
            return;
        }
        self.reloader.service().ending.give_up_calls();
        if !self.tasks.end(ANSWER_GRACE).await {
            self.tasks.abandon(DROP_GRACE).await;
        }
    }

    /// Stops the plugins on the workers, which they need. If functions hold all workers, they are not stopped.
    async fn stop_plugins(&self, within: Duration) {
        let is_free = self.changes.spawn_on(self.workers, std::future::ready(()));
        if timeout(DROP_GRACE, is_free).await.is_err() {
            return tracing::warn!("plugins are not stopped: functions hold all workers");
        }
        let plugins = Arc::clone(self.reloader.plugins());
        let stopped = self.changes.spawn_on(self.workers, async move { plugins.stop(within).await });
        if timeout(within + STOP_GRACE, stopped).await.is_err() {
            tracing::warn!("plugins did not stop in time");
        }
    }
}
