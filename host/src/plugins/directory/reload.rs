//! The plugin directory when the host is reloaded: compared with what serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;

use super::Plugins;
use crate::api::ChangeView;
use crate::base::Digest;
use crate::config::Config;
use crate::plugins::error::PluginError;
use crate::plugins::file::candidate::Candidate;
use crate::plugins::file::on_disk::Held;
use crate::plugins::lifecycle::ChangeLock;
use crate::plugins::lifecycle::publish::Withdrawal;
use crate::plugins::lifecycle::start::{Ready, StartRequest};
use crate::plugins::registry::entry::Entry;
use crate::plugins::registry::failures::Failed;
use crate::plugins::registry::stopwatch::Stopwatch;
use crate::plugins::step::LifecycleStep;

/// The changes that a reload of the whole host has started and not yet published.
pub struct Prepared {
    config: Arc<Config>,
    ready: Vec<Ready>,
    leaving: Vec<Withdrawal>,
    /// Files and plugins that stay as they are, and are not served.
    failed: Vec<Failed>,
    /// The digests of files that stay as they are.
    kept: BTreeSet<Digest>,
    /// The plugins that are as they were.
    pub unchanged: Vec<String>,
    /// Plugins whose file is gone, and which serve all the same.
    pub without_file: Vec<String>,
    /// Warnings, which are in the log already.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("unchanged", &self.unchanged).finish_non_exhaustive()
    }
}

/// The cause of a reload of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// An operator: what is not there any more goes, and what was refused before is tried again.
    Operator,
    /// The watcher. A plugin whose file is gone goes on, as the file may be gone for a moment only; a build that was
    /// refused is not tried again.
    Watcher,
}

/// The decision for one plugin.
#[expect(clippy::large_enum_variant, reason = "made and taken apart once for each plugin of a reload")]
enum Plan {
    Stays,
    Start(Starting),
    /// Its build ended the host when it was loaded.
    LeftOut(Failed),
}

/// A plugin that is to be started.
struct Starting {
    lock: ChangeLock,
    candidate: Candidate,
    /// The digest of the file that it stands for.
    file_digest: Option<Digest>,
    /// It is a new build, not the one that serves, with a new config.
    is_new: bool,
}

impl Plugins {
    /// Compares the directory with what serves, and starts what is new or different, also in its `[plugins.NAME]`.
    ///
    /// Nothing is published yet, and the lock on each plugin keeps other changes out until then. A file or plugin that was
    /// not served before, for the same reason, is a warning.
    ///
    /// # Errors
    /// All that is wrong and was not so before, by file or plugin; then nothing has changed.
    pub async fn prepare(
        &self,
        config: Arc<Config>,
        allow_breaking: bool,
        asker: Asker,
    ) -> Result<Prepared, Vec<Failed>> {
        let mut prepared = Prepared {
            config,
            ready: Vec::new(),
            leaving: Vec::new(),
            failed: Vec::new(),
            kept: BTreeSet::new(),
            unchanged: Vec::new(),
            without_file: Vec::new(),
            warnings: Vec::new(),
        };
        match self.prepare_all(&mut prepared, allow_breaking, asker).await {
            Ok(()) => {
                let left = prepared.failed.iter().map(|failed| format!("left as it was: {}", failed.error));
                let left: Vec<String> = left.inspect(|left| tracing::warn!("{left}")).collect();
                prepared.warnings.extend(left);
                Ok(prepared)
            }
            Err(failed) => {
                for Failed { what, error, .. } in &failed {
                    self.note_failure(what, error);
                }
                let all = prepared.failed.iter().chain(&failed).filter(|failed| !failed.what.is_empty());
                self.lifecycle.failures.replace(all.cloned(), &prepared.kept);
                self.stop_prepared(prepared).await;
                Err(failed)
            }
        }
    }

    async fn prepare_all(
        &self,
        prepared: &mut Prepared,
        allow_breaking: bool,
        asker: Asker,
    ) -> Result<(), Vec<Failed>> {
        let this = |error| vec![Failed::of_all(error)];
        let config = Arc::clone(&prepared.config);
        let mut found = self.look(&config).await.map_err(this)?;
        prepared.warnings = std::mem::take(&mut found.warnings);
        // In the order of the names, so that two who do this cannot wait for each other.
        let mut entries: BTreeMap<String, Arc<Entry>> = self.lifecycle.registry.all().into_iter().collect();
        for plugin in found.plugins.keys() {
            entries.insert(plugin.clone(), self.lifecycle.registry.entry(plugin));
        }
        let stands: BTreeSet<String> = entries
            .iter()
            .filter(|(plugin, entry)| {
                let state = entry.state();
                let file = state.path.as_ref().and_then(|path| path.file_name());
                state.published.is_some() && file.is_some_and(|file| found.stands_for(plugin, file))
            })
            .map(|(plugin, _)| plugin.clone())
            .collect();
        found.failed.retain(|failed| !stands.contains(&failed.what));
        let mut new = Vec::new();
        for failed in found.failed {
            let is_decided = matches!(failed.error, PluginError::Duplicate { .. });
            let list = if is_decided || self.lifecycle.failures.has(&failed) {
                &mut prepared.failed
            } else {
                &mut new
            };
            list.push(failed);
        }
        if !new.is_empty() {
            return Err(new);
        }
        let mut starting = Vec::new();
        for (plugin, entry) in entries {
            let lock = self.lifecycle.lock(&entry).await.map_err(this)?;
            let held = found.plugins.remove(&plugin);
            if held.is_some() || stands.contains(&plugin) {
                let sha256 = held.as_ref().map(|held| held.sha256);
                let plan = self.plan(&config, &plugin, lock, held, asker).await;
                match plan.map_err(|error| vec![Failed::of_plugin(&plugin, error, None)])? {
                    Plan::Start(plugin) => {
                        prepared.kept.extend(sha256.filter(|_| !plugin.is_new));
                        starting.push(plugin);
                    }
                    Plan::LeftOut(failed) => prepared.failed.push(failed),
                    Plan::Stays => {
                        prepared.kept.extend(sha256);
                        prepared.unchanged.push(plugin);
                    }
                }
            } else if entry.state().published.is_none() {
            } else if asker == Asker::Watcher {
                prepared.without_file.push(plugin);
            } else {
                let mut watch = Stopwatch::start("unload").shown_in(&entry);
                watch.begin(LifecycleStep::Publish);
                prepared.leaving.push(Withdrawal { lock, name: plugin.into(), watch });
            }
        }
        self.start_all(prepared, starting, allow_breaking).await
    }

    /// Starts what is to be published.
    ///
    /// # Errors
    /// What failed and did not fail before.
    async fn start_all(
        &self,
        prepared: &mut Prepared,
        starting: Vec<Starting>,
        allow_breaking: bool,
    ) -> Result<(), Vec<Failed>> {
        let mut new = Vec::new();
        for Starting { lock, candidate, file_digest, is_new } in starting {
            let (plugin, entry) = (candidate.name().to_owned(), Arc::clone(&lock.entry));
            let sha256 = candidate.staged.sha256;
            let config = Arc::clone(&prepared.config);
            let request =
                StartRequest { config, generation: None, file_digest, allow_breaking, must_note: true };
            match self.lifecycle.make_ready(lock, candidate, request, Stopwatch::start("reload")).await {
                Ok(ready) => {
                    prepared.warnings.extend(ready.generation.warnings());
                    prepared.ready.push(ready);
                }
                // Its config is at fault, or the times: what serves goes on as it is.
                Err(error) if !is_new => new.push(Failed::of_plugin(&plugin, error, None)),
                Err(error) => {
                    self.lifecycle.note_refused(&entry, &plugin, sha256, &error).await;
                    let failed = Failed::of_plugin(&plugin, error, Some(sha256));
                    if self.lifecycle.failures.has(&failed) {
                        entry.note_failure(&failed.error);
                        prepared.failed.push(failed);
                        prepared.unchanged.push(plugin);
                    } else {
                        new.push(failed);
                    }
                }
            }
        }
        if new.is_empty() { Ok(()) } else { Err(new) }
    }

    /// Decides what is to become of a plugin whose file is there; without `held`, that cannot be taken for it any more.
    async fn plan(
        &self,
        config: &Arc<Config>,
        plugin: &str,
        lock: ChangeLock,
        held: Option<Held>,
        asker: Asker,
    ) -> Result<Plan, PluginError> {
        let table = config.plugin_settings(plugin).to_string();
        let sha256 = held.as_ref().map(|held| held.sha256);
        let is_left_out = sha256.is_some_and(|sha256| self.lifecycle.is_left_out(sha256));
        let (serves, serving, path) = {
            let state = lock.entry.state();
            let refused = asker == Asker::Watcher && state.refused_digest == sha256;
            let stays = held.is_none() || is_left_out || state.file_digest == sha256 || refused;
            let published = state.published.as_ref().filter(|_| stays);
            let serving = published.map(|published| {
                (Arc::clone(&published.generation.staged), published.settings.table == table)
            });
            (state.published.is_some(), serving, state.path.clone())
        };
        match (serving, held) {
            (Some((_, true)) | None, Some(held)) if is_left_out => {
                let (file, plugin) = (held.file(), plugin.to_owned());
                Ok(Plan::LeftOut(held.refused(PluginError::EndedHost { file, plugin, serves })))
            }
            (Some((_, true)), _) | (None, None) => Ok(Plan::Stays),
            // Only its config is new: what serves is started again, also where that is not what the file holds.
            (Some((staged, false)), held) => {
                let path = held.map(|held| held.path).or(path);
                let path = path.unwrap_or_else(|| config.plugin_dir.join(&staged.file));
                let copy = (staged.copy.as_str(), staged.sha256);
                let (candidate, file_digest) =
                    self.files.stage_again(config, copy, &staged.file, path).await?;
                Ok(Plan::Start(Starting { lock, candidate, file_digest, is_new: false }))
            }
            (None, Some(held)) => {
                let candidate = self.files.candidate(config, held).await?;
                let file_digest = Some(candidate.staged.sha256);
                Ok(Plan::Start(Starting { lock, candidate, file_digest, is_new: true }))
            }
        }
    }

    /// Publishes all that was prepared in one swap; `also` runs right after it.
    ///
    /// # Errors
    /// [`PluginError::Publish`] and [`PluginError::Record`]; then nothing has changed.
    pub async fn publish_prepared(
        &self,
        prepared: Prepared,
        also: impl FnOnce(),
    ) -> Result<Vec<ChangeView>, PluginError> {
        let Prepared { config, ready, leaving, failed, kept, .. } = prepared;
        let bring_into_force = || {
            self.lifecycle.config.store(config);
            self.lifecycle.failures.replace(failed, &kept);
            also();
        };
        self.lifecycle.publish(ready, leaving, true, bring_into_force).await
    }

    /// Stops all that was prepared.
    pub async fn stop_prepared(&self, prepared: Prepared) {
        join_all(prepared.ready.into_iter().map(|ready| self.lifecycle.stop_unpublished(ready))).await;
    }
}
