//! The plugin directory as a whole: loaded when the host starts, and compared with what serves when it is reloaded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;

use super::candidate::{Candidate, plugin_files};
use super::entry::{Entry, Kept};
use super::publish::{Leaving, Origin, Ready};
use super::record::{Build, PluginRecord};
use super::registry::Settings;
use super::report::{Change, LoadReport, Stopwatch};
use super::trust::{self, Distrust};
use super::{PluginError, Plugins};
use crate::base::nearest;

/// What lies in the plugin directory: at most one file for each plugin, and what is wrong with the others.
#[derive(Default)]
struct Found {
    plugins: BTreeMap<String, Candidate>,
    failed: Vec<(String, PluginError)>,
    /// What is allowed and still likely not what the operator wants.
    warnings: Vec<String>,
}

/// What `reload` of the whole host found in the directory, started and not yet published.
pub struct Prepared {
    settings: Arc<Settings>,
    ready: Vec<Ready>,
    leaving: Vec<Leaving>,
    /// The plugins that are as they were.
    pub unchanged: Vec<String>,
    /// Plugins whose file is gone, and which serve all the same.
    pub without_file: Vec<String>,
    /// What is allowed and still likely not what the operator wants; in the log already.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("unchanged", &self.unchanged).finish_non_exhaustive()
    }
}

/// Who asks for a reload of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// An operator: what is not there any more goes, and what was refused before is tried again.
    Operator,
    /// The watcher: a file that is gone for a moment is no reason to withdraw a plugin, and a build that was refused
    /// is not tried again.
    Watcher,
}

impl Plugins {
    /// Loads every plugin file of the directory, or those that hold one of the `required` plugins.
    ///
    /// A file that is as it was when the host last ran stands for what served then, which after a rollback is another
    /// build. A bad file does not keep the others from loading; where an earlier build served, that serves again.
    ///
    /// # Errors
    /// [`PluginError::Directory`], if the directory cannot be read at all, and [`PluginError::WritableDirectory`].
    pub async fn load_directory(&self, required: Option<&[String]>) -> Result<LoadReport, PluginError> {
        let records = self.records.plugins().await;
        let settings = self.settings();
        let Found { plugins, mut failed, warnings } = self.look(&settings, required).await?;
        self.remember(&records).await;
        // A file that cannot even be read as a plugin stands for the plugin that it held before.
        let broken: Vec<(String, String)> = records
            .iter()
            .filter(|(plugin, _)| required.is_none_or(|required| required.contains(plugin)))
            .filter(|(plugin, _)| !plugins.contains_key(*plugin))
            .filter_map(|(plugin, record)| Some((plugin.clone(), record.committed.as_ref()?.file.clone())))
            .filter(|(_, file)| failed.iter().any(|(what, _)| what == file))
            .collect();
        failed.retain(|(what, _)| !broken.iter().any(|(plugin, _)| plugin == what));
        let mut report = LoadReport { published: Vec::new(), failed, warnings };
        for (plugin, file) in broken {
            let path = settings.directory.join(file);
            self.bring_back(&plugin, &records, path, &mut report).await;
        }
        for (plugin, candidate) in plugins {
            self.bring_up_at_start(&plugin, candidate, &records, &mut report).await;
        }
        for plugin in &report.published {
            report.warnings.extend(self.entry(plugin).warnings());
        }
        for (what, error) in &report.failed {
            self.note_failure(what, Some(error));
        }
        self.record_all().await;
        Ok(report)
    }

    /// Gives every recorded plugin its number and the builds that it can go back to.
    async fn remember(&self, records: &BTreeMap<String, PluginRecord>) {
        for (plugin, record) in records {
            let mut kept = Vec::new();
            // What was committed to is one of those, if something else comes to serve now.
            for build in record.committed.iter().chain(&record.kept) {
                // Looked at here, used much later: then it is staged and hashed again.
                kept.extend(build.staged(self.stager.folder()).map(|staged| Kept::recorded(build, staged)));
            }
            let entry = self.entry(plugin);
            let mut state = entry.state();
            state.last_generation = record.last_generation;
            state.kept = kept.into();
        }
    }

    async fn bring_up_at_start(
        &self,
        plugin: &str,
        candidate: Candidate,
        records: &BTreeMap<String, PluginRecord>,
        report: &mut LoadReport,
    ) {
        let sha256 = Some(candidate.staged.sha256.clone());
        let record = records.get(plugin).filter(|record| record.committed.is_some());
        let committed = record.and_then(|record| record.committed.as_ref());
        let path = candidate.path.clone();
        if let Some(record) = record.filter(|record| record.tried == sha256 && record.seen != sha256) {
            let file = candidate.staged.file.clone();
            let generation = record.committed.as_ref().map_or(0, |build| build.generation);
            report.failed.push((file.clone(), PluginError::Tried { file, generation }));
            return self.bring_back(plugin, records, path, report).await;
        }
        let seen_before = record.is_some_and(|record| record.seen == sha256);
        if seen_before && committed.is_some_and(|build| Some(&build.sha256) != sha256.as_ref()) {
            return self.bring_back(plugin, records, path, report).await;
        }
        let number = committed.filter(|_| seen_before).map(|build| build.generation);
        let entry = self.entry(plugin);
        if let Err(error) = self.note_tried(&[(&entry, &candidate)]).await {
            tracing::warn!(plugin, "{error}");
        }
        match self.start_and_publish(&entry, candidate, number, sha256).await {
            Ok(_) => report.published.push(plugin.to_owned()),
            Err(error) => {
                report.failed.push((plugin.to_owned(), error));
                if committed.is_some() && !seen_before {
                    self.bring_back(plugin, records, path, report).await;
                }
            }
        }
    }

    /// Brings back what a plugin last committed to.
    async fn bring_back(
        &self,
        plugin: &str,
        records: &BTreeMap<String, PluginRecord>,
        path: PathBuf,
        report: &mut LoadReport,
    ) {
        let Some(committed) = records.get(plugin).and_then(|record| record.committed.as_ref()) else {
            return;
        };
        let brought_back = async {
            let Build { sha256, file, generation, .. } = committed;
            let copy = committed.copy();
            let (candidate, seen) = self.stage_again(&self.settings(), (copy, sha256), file, path).await?;
            self.start_and_publish(&self.entry(plugin), candidate, Some(*generation), seen).await
        };
        match brought_back.await {
            Ok(_) => {
                let generation = committed.generation;
                tracing::warn!(
                    plugin,
                    generation,
                    "the generation that served last serves, not the file in the plugin directory"
                );
                report.published.push(plugin.to_owned());
            }
            Err(error) => report.failed.push((plugin.to_owned(), error)),
        }
    }

    async fn start_and_publish(
        &self,
        entry: &Arc<Entry>,
        candidate: Candidate,
        generation: Option<u64>,
        seen: Option<String>,
    ) -> Result<(), PluginError> {
        let turn = self.turn(entry).await?;
        let origin = Origin { settings: self.settings(), generation, seen, allow_breaking: true };
        let ready = self.make_ready(turn, candidate, origin, Stopwatch::start("load")).await?;
        // All of them are recorded at once, at the end.
        self.publish(vec![ready], Vec::new(), false, || ()).await.map(drop)
    }

    /// Commits to what serves after the start.
    async fn record_all(&self) {
        let most = self.settings().keep_generations;
        let mut staged = Vec::new();
        let mut records = Vec::new();
        for (plugin, entry) in self.entries() {
            let state = entry.state();
            if let Some(published) = &state.published {
                staged.push(Arc::clone(&published.generation.staged));
                records.push((plugin, state.record(most)));
            }
        }
        let mut book = self.records.open_book().await;
        if let Err(error) = book.write(staged, |plugins| plugins.extend(records)).await {
            tracing::warn!(
                "what serves cannot be recorded in the state directory: {error}; a rollback would not survive a restart"
            );
        }
    }

    /// Compares the directory with what serves, and starts what is new or different, also in its `[plugins.NAME]`.
    ///
    /// Nothing is published yet, and nobody else changes a plugin that is to be changed until that has happened.
    ///
    /// # Errors
    /// All that is wrong, by file or plugin; then nothing has changed.
    pub async fn prepare(
        &self,
        settings: Settings,
        required: Option<&[String]>,
        allow_breaking: bool,
        asker: Asker,
    ) -> Result<Prepared, Vec<(String, PluginError)>> {
        let mut prepared = Prepared {
            settings: Arc::new(settings),
            ready: Vec::new(),
            leaving: Vec::new(),
            unchanged: Vec::new(),
            without_file: Vec::new(),
            warnings: Vec::new(),
        };
        match self.prepare_all(&mut prepared, required, allow_breaking, asker).await {
            Ok(()) => Ok(prepared),
            Err(failed) => {
                self.discard_prepared(prepared).await;
                for (what, error) in &failed {
                    tracing::warn!(plugin = what, step = error.step(), "{error}; nothing has changed");
                    if let Ok(entry) = self.known(what) {
                        entry.note_failure(error);
                    }
                }
                Err(failed)
            }
        }
    }

    async fn prepare_all(
        &self,
        prepared: &mut Prepared,
        required: Option<&[String]>,
        allow_breaking: bool,
        asker: Asker,
    ) -> Result<(), Vec<(String, PluginError)>> {
        let this = |error: PluginError| vec![(String::new(), error)];
        let settings = Arc::clone(&prepared.settings);
        let Found { mut plugins, failed, warnings } = self.look(&settings, required).await.map_err(this)?;
        if !failed.is_empty() {
            return Err(failed);
        }
        prepared.warnings = warnings;
        // In the order of the names, so that two who do this cannot wait for each other.
        let mut entries: BTreeMap<String, Arc<Entry>> = self.entries().into_iter().collect();
        for plugin in plugins.keys() {
            entries.insert(plugin.clone(), self.entry(plugin));
        }
        let mut changed = Vec::new();
        for (plugin, entry) in entries {
            let turn = self.turn(&entry).await.map_err(this)?;
            match plugins.remove(&plugin) {
                Some(candidate) => match self.compare(&settings, &entry, candidate, asker).await {
                    Ok(Some((candidate, seen, is_new))) => changed.push((turn, candidate, seen, is_new)),
                    Ok(None) => prepared.unchanged.push(plugin),
                    Err(error) => return Err(vec![(plugin, error)]),
                },
                None if entry.state().published.is_none() => {}
                None if asker == Asker::Watcher => prepared.without_file.push(plugin),
                None => {
                    let mut watch = Stopwatch::start("unload");
                    watch.show_in(&entry);
                    watch.begin("publish");
                    prepared.leaving.push(Leaving { turn, name: plugin.into(), watch });
                }
            }
        }
        let tried = changed.iter().filter(|(.., is_new)| *is_new);
        let tried: Vec<_> = tried.map(|(turn, candidate, ..)| (&turn.entry, candidate)).collect();
        self.note_tried(&tried).await.map_err(this)?;
        drop(tried);
        let mut failed = Vec::new();
        for (turn, candidate, seen, _) in changed {
            let plugin = candidate.name().to_owned();
            let settings = Arc::clone(&settings);
            let origin = Origin { settings, generation: None, seen, allow_breaking };
            match self.make_ready(turn, candidate, origin, Stopwatch::start("reload")).await {
                Ok(ready) => {
                    prepared.warnings.extend(ready.warnings());
                    prepared.ready.push(ready);
                }
                Err(error) => failed.push((plugin, error)),
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// What is to be started for a plugin whose file is there, the digest of that, and whether the file is new;
    /// `None` if what serves stays.
    async fn compare(
        &self,
        settings: &Settings,
        entry: &Entry,
        candidate: Candidate,
        asker: Asker,
    ) -> Result<Option<(Candidate, Option<String>, bool)>, PluginError> {
        let sha256 = Some(candidate.staged.sha256.clone());
        let config = (settings.config_of)(candidate.name());
        let serving = {
            let state = entry.state();
            let refused = asker == Asker::Watcher && state.tried == sha256;
            let as_it_was = state.seen == sha256 || refused;
            let published = state.published.as_ref().filter(|_| as_it_was);
            published.map(|published| {
                (Arc::clone(&published.generation.staged), published.config.table == config.table)
            })
        };
        match serving {
            Some((_, true)) => Ok(None),
            // Only its config is new: what serves is started again, also where that is not what the file holds.
            Some((staged, false)) => {
                let path = candidate.path.clone();
                let (candidate, seen) =
                    self.stage_again(settings, (&staged.copy, &staged.sha256), &staged.file, path).await?;
                Ok(Some((candidate, seen, false)))
            }
            None => Ok(Some((candidate, sha256, true))),
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
    ) -> Result<Vec<Change>, PluginError> {
        let Prepared { settings, ready, leaving, .. } = prepared;
        let publish_settings = || {
            self.settings.store(settings);
            also();
        };
        self.publish(ready, leaving, true, publish_settings).await
    }

    /// Stops all that was prepared.
    pub async fn discard_prepared(&self, prepared: Prepared) {
        join_all(prepared.ready.into_iter().map(|ready| self.discard(ready))).await;
    }

    /// Stages the files of the directory.
    async fn look(&self, settings: &Settings, required: Option<&[String]>) -> Result<Found, PluginError> {
        let mut found = Found::default();
        if !settings.directory.exists() && settings.directory_may_be_missing && required.is_none() {
            let directory = settings.directory.display();
            tracing::warn!(%directory, "there is no plugin directory, so no plugins are loaded");
            return Ok(found);
        }
        let warning = trust::check_directory(&settings.trust, &settings.directory)?;
        found.warnings.extend(warning.inspect(|warning| tracing::warn!("{warning}")));
        let mut unwanted = Vec::new();
        let is_wanted = |name: &String| required.is_none_or(|required| required.contains(name));
        for path in plugin_files(&settings.directory)? {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match self.stage(settings, &path).await {
                Err(PluginError::Untrusted {
                    why: Distrust::Unlisted { plugin, .. } | Distrust::OtherDigest { plugin, .. },
                    ..
                }) if !is_wanted(&plugin) => tracing::debug!(file, plugin, "not in load_plugins"),
                Err(error) => found.failed.push((file, error)),
                Ok(mut candidate) => {
                    found.warnings.extend(candidate.warning.take());
                    let name = candidate.name().to_owned();
                    if !is_wanted(&name) {
                        tracing::debug!(file, plugin = name, "not in load_plugins");
                        unwanted.push(name);
                    } else if let Some(other) = found.plugins.get(&name) {
                        let other = other.staged.file.clone();
                        let error = PluginError::Duplicate { file: file.clone(), plugin: name.into(), other };
                        found.failed.push((file, error));
                    } else {
                        found.plugins.insert(name, candidate);
                    }
                }
            }
        }
        for plugin in required.into_iter().flatten().filter(|plugin| !found.plugins.contains_key(*plugin)) {
            let directory = settings.directory.clone();
            let near = nearest(plugin, unwanted.iter().map(String::as_str), 1).join("`, `");
            found
                .failed
                .push((plugin.clone(), PluginError::Missing { plugin: plugin.clone(), directory, near }));
        }
        Ok(found)
    }
}
