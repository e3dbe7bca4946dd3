//! Plugin code on threads of its own, which end with it, under a deadline.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::plugins::error::PluginError;
use crate::plugins::native;

/// Plugin code on a short-lived thread.
pub(crate) struct OnThread<T> {
    answer: oneshot::Receiver<Result<T, String>>,
    thread: JoinHandle<()>,
}

/// The reason why plugin code on a thread gave no result.
pub(crate) enum Lost {
    /// The thread is gone.
    Died,
    /// A thread-local of it aborted in its destructor; in words.
    Aborted(String),
    /// The deadline passed; the thread goes on.
    Hangs,
}

impl<T> OnThread<T> {
    /// Waits for the answer, and then for the end of the thread, which is when its thread-locals are gone.
    pub(crate) async fn wait(self, within: Duration) -> Result<T, Lost> {
        let deadline = tokio::time::Instant::now() + within;
        let answer = tokio::time::timeout_at(deadline, self.answer).await.map_err(|_| Lost::Hangs)?;
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join());
        let joined = tokio::time::timeout_at(deadline, joined).await.map_err(|_| Lost::Hangs)?;
        match (answer, joined) {
            (Ok(answer), Ok(Ok(()))) => answer.map_err(Lost::Aborted),
            _ => Err(Lost::Died),
        }
    }
}

/// Runs plugin code on a short-lived thread: thread-locals that it makes end with the thread.
pub(crate) fn on_thread<T: Send + 'static>(
    plugin: &Arc<str>,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<OnThread<T>, PluginError> {
    let (tx, answer) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("lifecycle".to_owned())
        .spawn(move || {
            // The receiver is gone if the deadline has passed.
            let _late = tx.send(native::run_and_flush(job));
        })
        .map_err(|error| PluginError::Thread { plugin: Arc::clone(plugin), cause: error.into() })?;
    Ok(OnThread { answer, thread })
}
