//! The plugins of this host: loaded from a directory, published, stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::descriptor::Description;
use super::generation::{Generation, Lease, StartedGeneration, WeakLease, on_thread};
use super::library::Library;
use super::object_file::{self, ObjectFile};
use super::{PluginError, Services, Staged, Stager};
use crate::base::FunctionName;
use crate::functions::Table;

/// How long `on_stop` may take at shutdown.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The plugins of this host.
pub struct Plugins {
    services: Arc<Services>,
    table: Arc<Table>,
    stager: Arc<Stager>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    published: BTreeMap<Arc<str>, Published>,
    failed: Vec<(String, String)>,
    /// Last generation number given to each plugin.
    generations: BTreeMap<String, u64>,
}

struct Published {
    generation: Arc<Generation>,
    functions: Vec<FunctionName>,
    /// Gone once the plugin drains.
    lease: Lease,
}

/// What came of loading a directory.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Names of the plugins that are published.
    pub published: Vec<String>,
    /// What failed: the file or plugin, and why.
    pub failed: Vec<(String, PluginError)>,
}

/// One plugin as the admin API shows it.
#[derive(Debug, Clone)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Number of the published generation.
    pub generation: u64,
    /// Digest of the file.
    pub sha256: String,
    /// Name of the operator's file.
    pub file: String,
    /// What it registered.
    pub functions: Vec<FunctionName>,
    /// Calls and replies that hold its code.
    pub in_flight: usize,
    /// Calls inside the plugin that did not pass through the host.
    pub direct_calls: u64,
    /// When it was published.
    pub published_at: SystemTime,
}

/// A plugin file that was looked at, without running any of it.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// What it says of itself.
    pub description: Description,
    /// Digest of the file.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
    /// It exports the layouts of the ABI types, as Rust plugins do.
    pub has_layout: bool,
}

/// Looks at a plugin file, without running any of it.
///
/// # Errors
/// As loading it, up to the step before it is mapped.
pub fn inspect(path: &Path, stager: &Stager) -> Result<Inspection, PluginError> {
    let candidate = Candidate::stage(path, stager)?;
    Ok(Inspection {
        description: candidate.object.description,
        sha256: candidate.staged.sha256.clone(),
        bytes: candidate.staged.bytes,
        has_layout: candidate.object.has_layout,
    })
}

/// A staged file that holds a plugin.
struct Candidate {
    staged: Staged,
    object: ObjectFile,
}

impl Candidate {
    fn stage(path: &Path, stager: &Stager) -> Result<Self, PluginError> {
        let staged = stager.stage(path)?;
        let file = staged.file.clone();
        let bytes = std::fs::read(&staged.path).map_err(|source| PluginError::File {
            file: file.clone(),
            action: "read",
            source,
        })?;
        match object_file::check(&bytes) {
            Ok(object) => Ok(Self { staged, object }),
            Err(reason) if reason.contains("ABI") => Err(PluginError::Incompatible { file, reason }),
            Err(reason) => Err(PluginError::NotALibrary { file, reason }),
        }
    }
}

impl Plugins {
    /// No plugins yet.
    #[must_use]
    pub fn new(services: Arc<Services>, table: Arc<Table>, stager: Stager) -> Self {
        Self { services, table, stager: Arc::new(stager), state: Mutex::default() }
    }

    /// Loads every plugin file of a directory, or those that hold one of the `required` plugins.
    ///
    /// A bad file does not keep the others from loading. `config` answers `[plugins.NAME]` as JSON.
    ///
    /// # Errors
    /// [`PluginError::Directory`], if it cannot be read at all.
    pub async fn load_directory(
        &self,
        directory: &Path,
        required: Option<&[String]>,
        config: impl Fn(&str) -> String,
    ) -> Result<LoadReport, PluginError> {
        let mut report = LoadReport::default();
        let mut chosen: BTreeMap<String, Candidate> = BTreeMap::new();
        for path in plugin_files(directory)? {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let stager = Arc::clone(&self.stager);
            let staged = tokio::task::spawn_blocking(move || Candidate::stage(&path, &stager)).await;
            let Ok(staged) = staged else { continue };
            match staged {
                Err(error) => report.failed.push((file, error)),
                Ok(candidate) => {
                    let name = candidate.object.description.name.clone();
                    if required.is_some_and(|required| !required.contains(&name)) {
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
            let missing = PluginError::Missing { plugin: plugin.clone(), directory: directory.to_owned() };
            report.failed.push((plugin.clone(), missing));
        }
        for (name, candidate) in chosen {
            let config = config(&name);
            match self.publish(candidate, config).await {
                Ok(()) => report.published.push(name),
                Err(error) => report.failed.push((name, error)),
            }
        }
        self.state().failed =
            report.failed.iter().map(|(what, error)| (what.clone(), error.to_string())).collect();
        Ok(report)
    }

    async fn publish(&self, candidate: Candidate, config: String) -> Result<(), PluginError> {
        let Candidate { staged, object } = candidate;
        let number = self.next_generation(&object.description.name);
        let plugin: Arc<str> = object.description.name.as_str().into();
        let description = object.description.clone();
        // Constructors of the library run here: on a thread that ends.
        let opened = on_thread(&plugin, move || (Library::open(&staged, &object), staged))?;
        let (library, staged) = opened.await.map_err(|_| PluginError::Start {
            plugin: Arc::clone(&plugin),
            reason: "its load thread died".to_owned(),
        })?;
        let started =
            Generation::start(library?, description, staged, number, config, &self.services).await?;
        let StartedGeneration { generation, lease, functions } = started;
        let names = functions.iter().map(|function| function.name.clone()).collect();
        if let Err(source) = self.table.publish(&plugin, functions) {
            drop(lease);
            if generation.drain(STOP_TIMEOUT).await {
                generation.stop(STOP_TIMEOUT).await;
            }
            return Err(PluginError::Publish { plugin, source });
        }
        // Set once: a generation is published once.
        let _first = generation.published_at.set(SystemTime::now());
        tracing::info!(
            plugin = &*plugin,
            generation = number,
            version = generation.description.version,
            file = generation.staged.file,
            "published"
        );
        self.state().published.insert(plugin, Published { generation, functions: names, lease });
        Ok(())
    }

    fn next_generation(&self, plugin: &str) -> u64 {
        let mut state = self.state();
        let last = state.generations.entry(plugin.to_owned()).or_default();
        *last += 1;
        *last
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells every plugin which of its own functions run here.
    pub fn write_routes(&self, runs_here: &dyn Fn(&FunctionName) -> bool) {
        for published in self.state().published.values() {
            published.generation.write_routes(runs_here);
        }
    }

    /// The published plugins.
    #[must_use]
    pub fn statuses(&self) -> Vec<PluginStatus> {
        self.state().published.values().map(Published::status).collect()
    }

    /// What failed to load: the file or plugin, and why.
    #[must_use]
    pub fn failures(&self) -> Vec<(String, String)> {
        self.state().failed.clone()
    }

    /// Stops all plugins: no new calls, then `on_stop` of each once its last call has ended.
    ///
    /// A plugin that does not drain in time is left as it is: its code may still be in use.
    pub async fn stop(&self, drain_timeout: Duration) {
        let published = std::mem::take(&mut self.state().published);
        for plugin in published.keys() {
            if let Err(error) = self.table.publish(plugin, Vec::new()) {
                tracing::error!(plugin = &**plugin, "{error}");
            }
        }
        let draining: Vec<(Arc<Generation>, WeakLease)> = published
            .into_values()
            .map(|published| (published.generation, published.lease.downgrade()))
            .collect();
        let deadline = tokio::time::Instant::now() + drain_timeout;
        for (generation, lease) in draining {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if generation.drain(left).await {
                generation.stop(STOP_TIMEOUT).await;
            } else {
                tracing::warn!(
                    plugin = &*generation.plugin,
                    in_flight = lease.count(),
                    "not stopped: calls are still running"
                );
            }
        }
    }
}

impl Published {
    fn status(&self) -> PluginStatus {
        let generation = &self.generation;
        PluginStatus {
            name: generation.plugin.to_string(),
            version: generation.description.version.clone(),
            generation: generation.number,
            sha256: generation.staged.sha256.clone(),
            file: generation.staged.file.clone(),
            functions: self.functions.clone(),
            // One lease is ours, and the table holds one for each function.
            in_flight: self.lease.downgrade().count().saturating_sub(1 + self.functions.len()),
            direct_calls: generation.direct_calls(),
            published_at: generation.published_at.get().copied().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugins").finish_non_exhaustive()
    }
}

/// The plugin files of a directory, by name: those with the system's ending for libraries.
fn plugin_files(directory: &Path) -> Result<Vec<PathBuf>, PluginError> {
    let refuse = |source| PluginError::Directory { directory: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(std::env::consts::DLL_SUFFIX) && !name.starts_with('.') {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
