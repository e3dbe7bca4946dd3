//! The one thread that maps libraries and closes them.
//!
//! It never ends: an allocator in a library binds itself to the thread on which its constructors run, and does not
//! survive that (microsoft/mimalloc#164). While a constructor or destructor does not return, the system's loader lets no
//! other library through: a library that is to be mapped or closed then is refused at once, instead of waiting for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::on_thread::Lost;
use crate::base::{Mutex, rfc3339};
use crate::plugins::error::PluginError;
use crate::plugins::native;

/// Held while a library is mapped, and while one is unmapped and what is known of its addresses is forgotten: the
/// system gives the addresses of the one to the other at once.
pub(crate) static ADDRESSES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

type Job = Box<dyn FnOnce() + Send>;

/// The queue of the thread, once it runs.
static JOBS: Mutex<Option<Sender<Job>>> = Mutex::new(None);
/// The job that runs.
static RUNNING: Mutex<Option<MapperJob>> = Mutex::new(None);

#[derive(Debug)]
struct MapperJob {
    plugin: Arc<str>,
    since: SystemTime,
}

/// Clears [`RUNNING`] when a job returns or panics.
struct MapperEnded;

impl Drop for MapperEnded {
    fn drop(&mut self) {
        *RUNNING.lock() = None;
    }
}

/// Runs a job on the thread that maps. The caller holds [`ADDRESSES`].
///
/// # Errors
/// [`PluginError::Thread`]; [`PluginError::LoaderHeld`] while an earlier job still runs past its deadline; and how the
/// result was lost.
pub(crate) async fn run<T: Send + 'static>(
    plugin: &Arc<str>,
    within: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<Result<T, Lost>, PluginError> {
    {
        let mut running = RUNNING.lock();
        if let Some(MapperJob { plugin: by, since }) = &*running {
            let (plugin, by, since) = (Arc::clone(plugin), Arc::clone(by), rfc3339(*since));
            return Err(PluginError::LoaderHeld { plugin, by, since });
        }
        *running = Some(MapperJob { plugin: Arc::clone(plugin), since: SystemTime::now() });
    }
    let (tx, result) = oneshot::channel();
    let job = Box::new(move || {
        let ended = MapperEnded;
        let done = job();
        drop(ended);
        // The receiver is gone if the deadline has passed.
        let _late = tx.send(done);
    });
    if let Err(error) = send(job) {
        return Err(PluginError::Thread { plugin: Arc::clone(plugin), cause: error.into() });
    }
    match tokio::time::timeout(within, result).await {
        Ok(result) => Ok(result.map_err(|_| Lost::Died)),
        Err(_) => Ok(Err(Lost::Hangs)),
    }
}

fn send(job: Job) -> std::io::Result<()> {
    let mut jobs = JOBS.lock();
    let sender = match jobs.take() {
        Some(sender) => sender,
        None => {
            let (sender, receiver) = channel();
            let started =
                std::thread::Builder::new().name("mapper".to_owned()).spawn(move || serve(&receiver));
            if let Err(error) = started {
                *RUNNING.lock() = None;
                return Err(error);
            }
            sender
        }
    };
    // It never ends, so it takes the job.
    let _taken = sender.send(job);
    *jobs = Some(sender);
    Ok(())
}

fn serve(jobs: &Receiver<Job>) {
    native::enter_mapper();
    while let Ok(job) = jobs.recv() {
        // A job that panics drops its result, which tells the caller.
        let _ran = catch_unwind(AssertUnwindSafe(job));
    }
}
