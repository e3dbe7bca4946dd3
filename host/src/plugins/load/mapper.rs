//! The one thread that maps libraries and closes them.
//!
//! It never ends: an allocator in a library binds itself to the thread on which its constructors run, and does not
//! survive that (microsoft/mimalloc#164). If a constructor or destructor does not end, another thread takes its
//! place; the system's loader lets no other library through until then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::on_thread::Lost;
use crate::base::Mutex;
use crate::plugins::error::PluginError;
use crate::plugins::native;

/// Held while a library is mapped, and while one is unmapped and what is known of its addresses is forgotten: the
/// system gives the addresses of the one to the other at once.
pub(crate) static ADDRESSES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

type Job = Box<dyn FnOnce() + Send>;

/// Where the thread takes its jobs from; none before the first.
static JOBS: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Runs a job on the thread that maps. The caller holds [`ADDRESSES`].
///
/// # Errors
/// [`PluginError::Thread`], and how the answer was lost.
pub(crate) async fn run<T: Send + 'static>(
    plugin: &Arc<str>,
    within: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<Result<T, Lost>, PluginError> {
    let (tx, answer) = oneshot::channel();
    send(Box::new(move || {
        // The receiver is gone if the deadline has passed: then nobody asks any more.
        let _late = tx.send(job());
    }))
    .map_err(|source| PluginError::Thread { plugin: Arc::clone(plugin), source: source.into() })?;
    match tokio::time::timeout(within, answer).await {
        Ok(answer) => Ok(answer.map_err(|_| Lost::Died)),
        Err(_) => {
            *JOBS.lock() = None;
            Ok(Err(Lost::Hangs))
        }
    }
}

fn send(job: Job) -> std::io::Result<()> {
    let mut jobs = JOBS.lock();
    let sender = match jobs.take() {
        Some(sender) => sender,
        None => {
            let (sender, receiver) = channel();
            std::thread::Builder::new().name("mapper".to_owned()).spawn(move || serve(&receiver))?;
            sender
        }
    };
    sender.send(job).map_err(|_| std::io::Error::other("the thread that maps libraries is gone"))?;
    *jobs = Some(sender);
    Ok(())
}

fn serve(jobs: &Receiver<Job>) {
    native::enter_mapper();
    while let Ok(job) = jobs.recv() {
        // A job that panics drops its answer, which says so.
        let _answered = catch_unwind(AssertUnwindSafe(job));
    }
    // Another one has taken its place.
    loop {
        std::thread::park();
    }
}
