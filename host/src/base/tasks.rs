//! The owner of every task: a part that spawns through it also waits through it.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks, tells them to end, and waits until they have.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
    abandoned: CancellationToken,
}

impl Tasks {
    /// Runs `task` until it ends; a task that would otherwise run forever listens to [`Tasks::token`].
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.tracker.spawn(task));
    }

    /// Runs `task` in `runtime`, perhaps another one than the caller's; the handle gives its result.
    pub fn spawn_on<F>(&self, runtime: &Handle, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn_on(task, runtime)
    }

    /// Cancelled when the tasks shall end.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Cancelled when the tasks shall drop what they are in the middle of.
    pub fn abandoned(&self) -> &CancellationToken {
        &self.abandoned
    }

    /// Returns the number of tasks that run.
    pub fn count(&self) -> usize {
        self.tracker.len()
    }

    /// Tells all tasks to end and waits; returns whether all of them ended within `grace`.
    pub async fn end(&self, grace: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }

    /// Tells all tasks that listen to [`Tasks::abandoned`] to drop what they do, and waits until they have.
    pub async fn abandon(&self, grace: Duration) -> bool {
        self.abandoned.cancel();
        self.end(grace).await
    }
}
