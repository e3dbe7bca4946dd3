//! The threads on which plugin code runs under a deadline: one for each `on_start` and `on_stop`, which ends with it, and
//! the one that maps libraries and closes them.
//!
//! That one never ends: an allocator in a library binds itself to the thread on which its constructors run, and does not
//! survive that (microsoft/mimalloc#164). While a constructor or destructor does not return, the system's loader lets no
//! other library through: a library that is to be mapped or closed then is refused at once, instead of waiting for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::base::{Mutex, rfc3339};
use crate::plugins::error::PluginError;
use crate::plugins::native;

/// Held while a library is mapped, and while one is unmapped and what is known of its addresses is forgotten: the
/// system gives the addresses of the one to the other at once.
pub(crate) static ADDRESSES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

type Job = Box<dyn FnOnce() + Send>;

/// The queue of the thread, once it runs.
static JOBS: Mutex<Option<Sender<Job>>> = Mutex::new(None);
/// The plugin whose job runs, and since when.
static RUNNING: Mutex<Option<(Arc<str>, SystemTime)>> = Mutex::new(None);

/// Clears [`RUNNING`] when a job returns, panics or does not begin.
struct MapperEnded;

impl Drop for MapperEnded {
    fn drop(&mut self) {
        *RUNNING.lock() = None;
    }
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

/// Runs plugin code on a short-lived thread, and waits for the end of the thread, which is when its thread-locals are gone.
///
/// # Errors
/// [`PluginError::Thread`]; and how the result was lost.
pub(crate) async fn on_thread<T: Send + 'static>(
    plugin: &Arc<str>,
    within: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<Result<T, Lost>, PluginError> {
    let (tx, answer) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("lifecycle".to_owned())
        .spawn(move || {
            // The receiver is gone if the deadline has passed.
            let _late = tx.send(native::run_and_flush(job));
        })
        .map_err(|error| PluginError::Thread { plugin: Arc::clone(plugin), cause: error.into() })?;
    let ended = async {
        let answer = answer.await;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match (answer, joined) {
            (Ok(answer), Ok(Ok(()))) => answer.map_err(Lost::Aborted),
            _ => Err(Lost::Died),
        }
    };
    Ok(tokio::time::timeout(within, ended).await.unwrap_or(Err(Lost::Hangs)))
}

/// Runs a job on the thread that maps. The caller holds [`ADDRESSES`].
///
/// # Errors
/// [`PluginError::Thread`]; [`PluginError::LoaderHeld`] while an earlier job still runs past its deadline; and how the
/// result was lost.
pub(crate) async fn on_mapper<T: Send + 'static>(
    plugin: &Arc<str>,
    within: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<Result<T, Lost>, PluginError> {
    {
        let mut running = RUNNING.lock();
        if let Some((by, since)) = &*running {
            let (plugin, by, since) = (Arc::clone(plugin), Arc::clone(by), rfc3339(*since));
            return Err(PluginError::LoaderHeld { plugin, by, since });
        }
        *running = Some((Arc::clone(plugin), SystemTime::now()));
    }
    let (tx, result) = oneshot::channel();
    let ended = MapperEnded;
    let job = Box::new(move || {
        let done = job();
        drop(ended);
        // The receiver is gone if the deadline has passed.
        let _late = tx.send(done);
    });
    send(job).map_err(|error| PluginError::Thread { plugin: Arc::clone(plugin), cause: error.into() })?;
    match tokio::time::timeout(within, result).await {
        Ok(result) => Ok(result.map_err(|_| Lost::Died)),
        Err(_) => Ok(Err(Lost::Hangs)),
    }
}

fn send(job: Job) -> std::io::Result<()> {
    let mut jobs = JOBS.lock();
    if jobs.is_none() {
        let (sender, receiver) = channel();
        std::thread::Builder::new().name("mapper".to_owned()).spawn(move || serve(&receiver))?;
        *jobs = Some(sender);
    }
    // The thread never ends, so it takes the job.
    let _taken = jobs.as_ref().map(|jobs| jobs.send(job));
    Ok(())
}

fn serve(jobs: &Receiver<Job>) {
    native::enter_mapper();
    while let Ok(job) = jobs.recv() {
        // A job that panics drops its result, which tells the caller.
        let _ran = catch_unwind(AssertUnwindSafe(job));
    }
}
