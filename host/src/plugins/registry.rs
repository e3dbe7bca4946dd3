//! The plugins of this host, by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::candidate::{Candidate, plugin_files};
use super::entry::Entry;
use super::report::{LoadReport, PluginStatus, Stopwatch};
use super::{Distrust, PluginError, Services, Stager, trust};
use crate::base::FunctionName;
use crate::config::{Trust, Unmap};
use crate::functions::Table;

/// What the registry is told by the config.
pub struct Settings {
    /// Where plugin files lie.
    pub directory: PathBuf,
    /// How long calls may go on in a generation that was replaced.
    pub drain_timeout: Duration,
    /// How many retired generations `rollback` can bring back.
    pub keep_generations: usize,
    /// How many libraries may stay mapped without serving before `ready` says so.
    pub zombies_max: usize,
    /// Whether retired libraries are unmapped.
    pub unmap: Unmap,
    /// Whose plugin files are loaded.
    pub trust: Arc<Trust>,
    /// Answers `[plugins.NAME]` as JSON.
    pub of_plugin: Box<dyn Fn(&str) -> String + Send + Sync>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// The plugins of this host.
pub struct Plugins {
    pub(super) services: Arc<Services>,
    pub(super) table: Arc<Table>,
    pub(super) stager: Arc<Stager>,
    pub(super) settings: Settings,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
    failed: Mutex<BTreeMap<String, String>>,
    on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
    pub(super) stopping: AtomicBool,
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugins").finish_non_exhaustive()
    }
}

impl Plugins {
    /// No plugins yet.
    #[must_use]
    pub fn new(services: Arc<Services>, table: Arc<Table>, stager: Stager, settings: Settings) -> Self {
        Self {
            services,
            table,
            stager: Arc::new(stager),
            settings,
            entries: Mutex::default(),
            failed: Mutex::default(),
            on_change: OnceLock::new(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Sets who is told when functions were published or withdrawn; the first one stays.
    pub fn on_change(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.on_change.get_or_init(|| Box::new(tell));
    }

    pub(super) fn tell_change(&self) {
        self.on_change.get().into_iter().for_each(|tell| tell());
    }

    /// Loads every plugin file of the directory, or those that hold one of the `required` plugins.
    ///
    /// A bad file does not keep the others from loading.
    ///
    /// # Errors
    /// [`PluginError::Directory`], if the directory cannot be read at all, and [`PluginError::WritableDirectory`].
    pub async fn load_directory(&self, required: Option<&[String]>) -> Result<LoadReport, PluginError> {
        let mut report = LoadReport::default();
        if let Some(warning) = trust::check_directory(&self.settings.trust, &self.settings.directory)? {
            tracing::warn!("{warning}");
            report.warnings.push(warning);
        }
        let mut chosen: BTreeMap<String, Candidate> = BTreeMap::new();
        let is_wanted = |name: &String| required.is_none_or(|required| required.contains(name));
        for path in plugin_files(&self.settings.directory)? {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match self.stage(&path).await {
                Err(PluginError::Untrusted {
                    why: Distrust::Unlisted { plugin, .. } | Distrust::OtherDigest { plugin, .. },
                    ..
                }) if !is_wanted(&plugin) => tracing::debug!(file, plugin, "not in load_plugins"),
                Err(error) => report.failed.push((file, error)),
                Ok(mut candidate) => {
                    report.warnings.extend(candidate.warning.take());
                    let name = candidate.name().to_owned();
                    if !is_wanted(&name) {
                        tracing::debug!(file, plugin = name, "not in load_plugins");
                    } else if let Some(other) = chosen.get(&name).map(|other| other.staged.file.clone()) {
                        report.failed.push((
                            file.clone(),
                            PluginError::Duplicate { file, plugin: name.into(), other },
                        ));
                    } else {
                        chosen.insert(name, candidate);
                    }
                }
            }
        }
        for plugin in required.into_iter().flatten().filter(|plugin| !chosen.contains_key(*plugin)) {
            let directory = self.settings.directory.clone();
            report.failed.push((plugin.clone(), PluginError::Missing { plugin: plugin.clone(), directory }));
        }
        for (name, candidate) in chosen {
            match self.bring_up(&self.entry(&name), candidate, Stopwatch::start(), true).await {
                Ok(_) => report.published.push(name),
                Err(error) => report.failed.push((name, error)),
            }
        }
        for (what, error) in &report.failed {
            self.note_failure(what, Some(error));
        }
        Ok(report)
    }

    /// Stages a file of the plugin directory, off the workers.
    pub(super) async fn stage(&self, path: &Path) -> Result<Candidate, PluginError> {
        trust::check_directory(&self.settings.trust, &self.settings.directory)?;
        let candidate = self.stage_copy(path).await?;
        if let Some(warning) = &candidate.warning {
            tracing::warn!("{warning}");
        }
        Ok(candidate)
    }

    /// Stages a file, off the workers.
    pub(super) async fn stage_copy(&self, path: &Path) -> Result<Candidate, PluginError> {
        let (path, stager) = (path.to_owned(), Arc::clone(&self.stager));
        let trust = Arc::clone(&self.settings.trust);
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let staged = tokio::task::spawn_blocking(move || Candidate::stage(&path, &stager, &trust)).await;
        let lost = |_| PluginError::Load { file, reason: "the thread that read it died".to_owned() };
        staged.map_err(lost)?
    }

    /// The entry of a plugin, made if there is none: only for names that came out of a checked file.
    pub(super) fn entry(&self, name: &str) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(entries.entry(name.to_owned()).or_default())
    }

    /// The entry of a plugin that was loaded at some time.
    pub(super) fn known(&self, name: &str) -> Result<Arc<Entry>, PluginError> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(name).map(Arc::clone).ok_or_else(|| {
            let near = crate::base::nearest(name, entries.keys().map(String::as_str), 3);
            PluginError::Unknown { plugin: name.chars().take(64).collect(), near: near.join("`, `") }
        })
    }

    pub(super) fn entries(&self) -> Vec<(String, Arc<Entry>)> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))).collect()
    }

    /// Notes for `ready` what failed, or that it did not.
    pub(super) fn note_failure(&self, what: &str, error: Option<&PluginError>) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) => failed.insert(what.to_owned(), error.to_string()),
            None => failed.remove(what),
        };
    }

    /// Tells every plugin which of its own functions run here.
    pub fn write_routes(&self, runs_here: &dyn Fn(&FunctionName) -> bool) {
        for (_, entry) in self.entries() {
            if let Some(published) = &entry.state().published {
                published.generation.write_routes(runs_here);
            }
        }
    }

    /// The plugins that were ever published, by name.
    #[must_use]
    pub fn statuses(&self) -> Vec<PluginStatus> {
        self.entries().iter().filter_map(|(_, entry)| entry.status()).collect()
    }

    /// What failed to load: the file or plugin, and why.
    #[must_use]
    pub fn failures(&self) -> Vec<(String, String)> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.iter().map(|(what, why)| (what.clone(), why.clone())).collect()
    }

    /// How many libraries are mapped without serving, and how many may be before somebody should act.
    #[must_use]
    pub fn zombies(&self) -> (usize, usize) {
        let count = self.entries().iter().map(|(_, entry)| entry.state().zombies().len()).sum();
        (count, self.settings.zombies_max)
    }

    /// Stops all plugins: no new calls, then `on_stop` of each once its last call has ended.
    ///
    /// A plugin that does not drain in time is left as it is: its code may still be in use.
    pub async fn stop(&self, drain_timeout: Duration) {
        self.stopping.store(true, Ordering::Relaxed);
        let deadline = tokio::time::Instant::now() + drain_timeout;
        for (name, entry) in self.entries() {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            // A change that is under way ends first; it is bounded by its own deadlines.
            let Ok(_turn) = tokio::time::timeout(left, entry.turn.lock()).await else {
                tracing::warn!(plugin = name, "not stopped: a change of it did not end");
                continue;
            };
            self.withdraw(&name, &entry, left, &mut Stopwatch::start()).await;
        }
    }
}
