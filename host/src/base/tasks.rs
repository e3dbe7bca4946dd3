//! The owner of every task: who spawns through it also waits through it.

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
    /// Runs `task` until it ends; it listens to [`Tasks::token`] if it would otherwise run for ever.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task)
    }

    /// Runs `task` in another runtime than the caller's.
    pub fn spawn_on<F>(&self, runtime: &Handle, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn_on(task, runtime)
    }

    /// Cancelled when the tasks shall end.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Cancelled when the tasks shall drop what they are in the middle of.
    #[must_use]
    pub fn abandoned(&self) -> &CancellationToken {
        &self.abandoned
    }

    /// How many run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tracker.len()
    }

    /// Tells all tasks to end and waits; answers whether all had ended within `grace`.
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
