//! The plugins of this host, by name.

mod change;
mod look;
pub(super) mod reload;
mod startup;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;

use crate::base::{FunctionName, Mutex, Tasks};
use crate::config::Trust;
use crate::files::DirFault;
use crate::functions::Table;
use crate::plugins::error::PluginError;
use crate::plugins::file::candidate::Candidate;
use crate::plugins::file::on_disk::{Held, Now, OnDisk};
use crate::plugins::file::stage::Stager;
use crate::plugins::file::trust;
use crate::plugins::native;
use crate::plugins::registry::entry::Entry;
use crate::plugins::registry::failures::{Failure, Failures};
use crate::plugins::registry::record::Records;
use crate::plugins::registry::stopwatch::Stopwatch;
use crate::plugins::registry::tries::Tries;
use crate::plugins::services::Services;
use crate::plugins::settings::Settings;
use crate::plugins::status::{Difference, PluginStatus};

/// The plugins of this host.
pub struct Plugins {
    pub(crate) services: Arc<Services>,
    pub(crate) table: Arc<Table>,
    pub(crate) stager: Arc<Stager>,
    pub(crate) records: Records,
    pub(crate) settings: ArcSwap<Settings>,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
    pub(crate) failures: Failures,
    pub(crate) on_disk: Arc<OnDisk>,
    pub(crate) tries: Tries,
    on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
    pub(crate) stopping: AtomicBool,
    /// What waits for generations that did not end in time.
    pub(crate) late: Tasks,
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugins").finish_non_exhaustive()
    }
}

impl Plugins {
    /// No plugins yet. `folder` is used by this process alone: staged copies lie there, and the record of what serves.
    ///
    /// # Errors
    /// [`DirFault`] for what others than this user may have put into the folder, and what the system says of it.
    pub fn open(
        services: Arc<Services>,
        table: Arc<Table>,
        folder: &Path,
        settings: Settings,
    ) -> Result<Self, DirFault> {
        native::prepare();
        let mut records = Records::read(folder)?;
        let (staged, needed) = records.copies();
        let stager = Stager::new(staged, &needed)?;
        Ok(Self {
            services,
            table,
            stager: Arc::new(stager),
            records,
            settings: ArcSwap::from_pointee(settings),
            entries: Mutex::default(),
            failures: Failures::default(),
            on_disk: Arc::default(),
            tries: Tries::read(folder)?,
            on_change: OnceLock::new(),
            stopping: AtomicBool::new(false),
            late: Tasks::default(),
        })
    }

    /// What the config says at present.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Sets who is told when functions were published or withdrawn; the first one stays.
    pub fn on_change(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.on_change.get_or_init(|| Box::new(tell));
    }

    pub(crate) fn tell_change(&self) {
        self.on_change.get().into_iter().for_each(|tell| tell());
    }

    /// Stages a file of the plugin directory, off the workers.
    pub(crate) async fn stage(&self, settings: &Settings, path: &Path) -> Result<Candidate, PluginError> {
        trust::check_directory(&settings.trust, &settings.directory)?;
        let candidate = self.stage_copy(settings, path).await?;
        if let Some(warning) = &candidate.warning {
            tracing::warn!("{warning}");
        }
        Ok(candidate)
    }

    async fn stage_copy(&self, settings: &Settings, path: &Path) -> Result<Candidate, PluginError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = path.to_owned();
        let on_disk = Arc::clone(&self.on_disk);
        self.off_the_workers(settings, file, move |stager, trust| on_disk.stage(&path, stager, trust)).await
    }

    /// The copy of a file that was looked at, made now if there is none.
    pub(crate) async fn candidate(&self, settings: &Settings, held: Held) -> Result<Candidate, PluginError> {
        let Held { path, plugin, candidate, .. } = held;
        if let Some(candidate) = candidate {
            return Ok(candidate);
        }
        let candidate = self.stage_copy(settings, &path).await?;
        if candidate.name() != plugin {
            let file = candidate.staged.file.clone();
            let reason = format!("holds plugin `{}` now, and held `{plugin}` a moment ago", candidate.name());
            return Err(PluginError::NotALibrary { file, reason });
        }
        Ok(candidate)
    }

    /// Runs what stages a file where it may block.
    pub(crate) async fn off_the_workers(
        &self,
        settings: &Settings,
        file: String,
        stage: impl FnOnce(&Stager, &Arc<Trust>) -> Result<Candidate, PluginError> + Send + 'static,
    ) -> Result<Candidate, PluginError> {
        let (stager, trust) = (Arc::clone(&self.stager), Arc::clone(&settings.trust));
        let staged = tokio::task::spawn_blocking(move || stage(&stager, &trust)).await;
        let lost = |_| PluginError::Load { file, reason: "the thread that read it died".to_owned() };
        staged.map_err(lost)?
    }

    /// The entry of a plugin, made if there is none: only for names that came out of a checked file.
    pub(crate) fn entry(&self, name: &str) -> Arc<Entry> {
        let mut entries = self.entries.lock();
        Arc::clone(entries.entry(name.to_owned()).or_default())
    }

    /// The entry of a plugin that was loaded at some time.
    pub(crate) fn known(&self, name: &str) -> Result<Arc<Entry>, PluginError> {
        let entries = self.entries.lock();
        entries.get(name).map(Arc::clone).ok_or_else(|| {
            let near = crate::base::nearest(name, entries.keys().map(String::as_str), 3);
            PluginError::Unknown { plugin: name.chars().take(64).collect(), near: near.join("`, `") }
        })
    }

    pub(crate) fn entries(&self) -> Vec<(String, Arc<Entry>)> {
        let entries = self.entries.lock();
        entries.iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))).collect()
    }

    /// Tells every plugin which of its own functions run here.
    pub fn write_routes(&self, runs_here: &dyn Fn(&FunctionName) -> bool) {
        for (_, entry) in self.entries() {
            if let Some(published) = &entry.state().published {
                published.generation.routes.write(runs_here);
            }
        }
    }

    /// The plugins that were ever published, by name, without a look at their files.
    #[must_use]
    pub fn loaded(&self) -> Vec<PluginStatus> {
        self.entries().iter().filter_map(|(_, entry)| entry.status()).collect()
    }

    /// The plugins that were ever published, by name. Looks at the times of their files, and reads none. Blocks on the
    /// disk.
    #[must_use]
    pub fn statuses(&self) -> Vec<PluginStatus> {
        let status = |(name, entry): &(String, Arc<Entry>)| {
            let mut status = entry.status()?;
            status.differs_from_file = self.difference(name, entry);
            Some(status)
        };
        self.entries().iter().filter_map(status).collect()
    }

    /// Reads the files whose times alone may be new, so that what is said of them next is exact.
    pub async fn look_again(&self) {
        let paths: Vec<PathBuf> =
            self.entries().iter().filter_map(|(_, entry)| entry.state().path.clone()).collect();
        let on_disk = Arc::clone(&self.on_disk);
        // One that cannot be read stays as it was looked at last.
        let _read =
            tokio::task::spawn_blocking(move || paths.iter().for_each(|path| on_disk.refresh(path))).await;
    }

    /// How the file of a published plugin differs from what serves.
    fn difference(&self, name: &str, entry: &Entry) -> Option<Difference> {
        let (path, serves, seen, published_at) = {
            let state = entry.state();
            let staged = &state.published.as_ref()?.generation.staged;
            (state.path.clone()?, staged.sha256.clone(), state.seen.clone(), state.published_at())
        };
        let (sha256, now) = self.on_disk.now(&path);
        let of = |reason: &str, since| Some(Difference { reason: reason.to_owned(), since });
        match now {
            Now::Changed(at) => {
                return of("its file was written since it was looked at, and was not loaded", Some(at));
            }
            Now::Gone => return of("its file is gone", None),
            Now::Same if sha256.is_none() && path.symlink_metadata().is_err() => {
                return of("its file is gone", None);
            }
            Now::Same if sha256.as_ref() == Some(&serves) => return None,
            Now::Same => {}
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let failure = self.failures.of(name).or_else(|| self.failures.of(&file));
        match failure {
            Some((reason, since)) => of(&reason, Some(since)),
            None if self.on_disk.fault(&path).is_some() => {
                of(&self.on_disk.fault(&path).unwrap_or_default(), None)
            }
            None if seen == sha256 => {
                of("another build was brought back, and its file was not loaded since", published_at)
            }
            None => of("its file holds another build, which was not loaded", published_at),
        }
    }

    /// The files and plugins that are not served, by name. Blocks on the disk.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        self.failures.all()
    }

    /// Notes that the host ends as it was told to, whatever is being loaded.
    pub async fn forgive_tries(&self) {
        self.tries.forgive().await;
    }

    /// How many libraries are mapped without serving, and how many may be before somebody should act.
    #[must_use]
    pub fn zombies(&self) -> (usize, usize) {
        let count = self.entries().iter().map(|(_, entry)| entry.state().zombies().len()).sum();
        (count, self.settings().zombies_max)
    }

    /// Whether the host is being stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Changes how long a call may take that begins in a plugin, outside of any invocation.
    pub fn set_call_timeout(&self, call_timeout: Duration) {
        self.services.set_call_timeout(call_timeout);
    }

    /// Drops the calls that have suspended in any plugin; their callers are told that they ran.
    pub fn cancel_calls(&self) {
        for (_, entry) in self.entries() {
            if let Some(published) = &entry.state().published {
                published.generation.leases.cancel_calls();
            }
        }
    }

    /// Changes the part of a call's time, in percent, that a layer may take before what it stands around begins.
    pub fn set_layer_percent(&self, percent: usize) {
        self.services.set_layer_percent(percent);
    }

    /// Stops all plugins: no new calls, then `on_stop` of each once its last call has ended.
    ///
    /// A plugin that does not drain in time is left as it is: its code may still be in use.
    pub async fn stop(&self, drain_timeout: Duration) {
        self.stopping.store(true, Ordering::Relaxed);
        self.late.token().cancel();
        let deadline = tokio::time::Instant::now() + drain_timeout;
        join_all(self.entries().into_iter().map(|(name, entry)| self.stop_one(name, entry, deadline))).await;
    }

    async fn stop_one(&self, name: String, entry: Arc<Entry>, deadline: tokio::time::Instant) {
        // A change that is under way ends first; it is bounded by its own deadlines.
        let Ok(_turn) = tokio::time::timeout_at(deadline, entry.turn.lock()).await else {
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
}
