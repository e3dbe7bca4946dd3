//! From a staged file to a generation that has started and is not published yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{ChangeLock, Lifecycle, compatibility};
use crate::base::{Digest, flush_log};
use crate::config::{Config, Probe};
use crate::functions::Function;
use crate::plugins::error::PluginError;
use crate::plugins::file::candidate::Candidate;
use crate::plugins::file::stage::Staged;
use crate::plugins::load::generation::{Generation, StartedGeneration};
use crate::plugins::load::library::{Library, map_companions};
use crate::plugins::load::threads::{self, Lost};
use crate::plugins::native;
use crate::plugins::probe::probe;
use crate::plugins::registry::entry::Entry;
use crate::plugins::registry::stopwatch::Stopwatch;
use crate::plugins::run::lease::Lease;
use crate::plugins::settings::PluginConfig;
use crate::plugins::step::LifecycleStep;

/// A generation that has started and is not published yet.
pub(crate) struct Ready {
    pub(crate) lock: ChangeLock,
    pub(crate) generation: Arc<Generation>,
    pub(crate) functions: Vec<Function>,
    pub(crate) settings: PluginConfig,
    pub(crate) path: PathBuf,
    pub(crate) file_digest: Option<Digest>,
    pub(crate) watch: Stopwatch,
    pub(crate) lease: Lease,
}

/// Options for starting a staged file.
pub(crate) struct StartRequest {
    /// The config, which may not be in force yet.
    pub(crate) config: Arc<Config>,
    /// Its number; the next one if it never had one.
    pub(crate) generation: Option<u64>,
    /// Digest of the operator's file at this moment.
    pub(crate) file_digest: Option<Digest>,
    /// Callers of the old build may break.
    pub(crate) allow_breaking: bool,
    /// Nothing of it runs if the disk does not take the note that it is tried.
    pub(crate) must_note: bool,
}

impl Lifecycle {
    /// Loads and starts a staged file.
    ///
    /// # Errors
    /// [`PluginError`] with the step that failed; the generation is stopped again if it had started.
    pub(crate) async fn make_ready(
        &self,
        lock: ChangeLock,
        candidate: Candidate,
        request: StartRequest,
        watch: Stopwatch,
    ) -> Result<Ready, PluginError> {
        let mut watch = watch.shown_in(&lock.entry);
        let path = candidate.path.clone();
        let StartRequest { config, generation, file_digest, allow_breaking, must_note } = request;
        let number = generation.unwrap_or_else(|| lock.entry.next_generation());
        let settings = PluginConfig::of(&config, candidate.name());
        let sha256 = candidate.staged.sha256;
        candidate.check_mount()?;
        log_loading(&candidate).await;
        if config.reload.probe == Probe::Load {
            watch.begin(LifecycleStep::Probe);
            Box::pin(probe(&candidate, config.reload.start_timeout)).await?;
        }
        self.note_try(&candidate, must_note).await?;
        let started = self
            .start(
                &lock.entry,
                candidate,
                number,
                (settings.clone(), config.reload.start_timeout),
                &mut watch,
            )
            .await;
        self.tries.survived(sha256).await;
        let StartedGeneration { generation, lease, functions } = started?;
        let ready = Ready { lock, generation, functions, settings, path, file_digest, watch, lease };
        if !allow_breaking {
            let plugin = Arc::clone(&ready.generation.plugin);
            let breaks = compatibility::breaks(&self.table.snapshot(), &plugin, &ready.functions);
            if !breaks.is_empty() {
                self.stop_unpublished(ready).await;
                return Err(PluginError::Breaking { plugin, breaks });
            }
        }
        Ok(ready)
    }

    /// Notes on disk which build is loaded, before any of its code runs in the host: it may end it.
    async fn note_try(&self, candidate: &Candidate, must: bool) -> Result<(), PluginError> {
        let (plugin, Staged { file, sha256, .. }) = (candidate.name(), &candidate.staged);
        match self.tries.begin(*sha256, plugin, file).await {
            Ok(()) => Ok(()),
            Err(error) if must => Err(PluginError::Record {
                plugin: plugin.into(),
                step: LifecycleStep::Stage,
                cause: error.into(),
            }),
            Err(error) => {
                tracing::warn!(
                    plugin,
                    "the state directory cannot be written to: {error}; if this build ends the host, the next start tries it again"
                );
                Ok(())
            }
        }
    }

    async fn start(
        &self,
        entry: &Entry,
        candidate: Candidate,
        number: u64,
        (settings, timeout): (PluginConfig, Duration),
        watch: &mut Stopwatch,
    ) -> Result<StartedGeneration, PluginError> {
        let Candidate { staged, object, companions, .. } = candidate;
        let description = object.description.clone();
        let plugin: Arc<str> = description.name.as_str().into();
        let copy = staged.copy.clone();
        watch.begin(LifecycleStep::Load);
        let addresses = threads::ADDRESSES.lock().await;
        let name = Arc::clone(&plugin);
        let open = move || {
            let mapped = map_companions(companions, &name, &staged.file);
            (mapped.and_then(|()| Library::open(&staged, &object)), staged, native::look())
        };
        let opened = threads::on_mapper(&plugin, timeout, open).await;
        drop(addresses);
        let (library, staged, changed) = match opened? {
            Ok(opened) => opened,
            Err(lost) => {
                entry.note_mapped(number, &copy, "its constructors did not end");
                let reason = match lost {
                    Lost::Died | Lost::Aborted(_) => "mapping it panicked".to_owned(),
                    Lost::Hangs => format!("its constructors did not end within {} ms", timeout.as_millis()),
                };
                return Err(PluginError::Start { plugin, reason });
            }
        };
        let library = library.inspect_err(|_| {
            entry.note_mapped(number, &copy, "it failed at the step load");
            changed.warn(&plugin, number);
        })?;
        watch.begin(LifecycleStep::Start);
        let library = (library, changed);
        let started =
            Generation::start(library, description, staged, number, settings, &self.services, timeout);
        match started.await {
            Ok(started) => Ok(started),
            Err((error, generation)) => {
                self.unmap(entry, &generation).await;
                Err(error)
            }
        }
    }
}

/// Names the build in the log, before any of its code runs.
async fn log_loading(candidate: &Candidate) {
    let Staged { file, sha256, .. } = &candidate.staged;
    tracing::info!(plugin = candidate.name(), file, %sha256, "loading");
    if let Err(error) = tokio::task::spawn_blocking(flush_log).await {
        tracing::warn!("the log was not flushed: {error}");
    }
}
