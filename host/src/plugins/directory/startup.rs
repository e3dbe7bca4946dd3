//! The plugin directory when the host starts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::Plugins;
use super::look::Found;
use crate::base::Digest;
use crate::plugins::error::PluginError;
use crate::plugins::file::candidate::Candidate;
use crate::plugins::file::on_disk::Held;
use crate::plugins::lifecycle::start::StartRequest;
use crate::plugins::registry::entry::Kept;
use crate::plugins::registry::failures::Failed;
use crate::plugins::registry::record::{Build, PluginRecord};
use crate::plugins::registry::stopwatch::Stopwatch;

/// The outcome of loading a directory.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Names of the plugins that are published.
    pub published: Vec<String>,
    /// The files and plugins that failed, with the reason.
    pub failed: Vec<Failed>,
    /// Warnings, one sentence each, which are in the log already.
    pub warnings: Vec<String>,
}

impl Plugins {
    /// Loads every plugin file of the directory, or only the files of the plugins that the config requires.
    ///
    /// A file that is as it was when the host last ran stands for what served then, which after a rollback is another
    /// build. A bad file does not keep the others from loading; where an earlier build served, that serves again. A
    /// build that ended the host while it was loaded is left out.
    ///
    /// # Errors
    /// [`PluginError::Directory`], if the directory cannot be read at all, and [`PluginError::WritableDirectory`].
    pub async fn load_directory(&self) -> Result<LoadReport, PluginError> {
        let records = self.lifecycle.records.plugins().await;
        let config = self.lifecycle.config();
        let required = config.load_plugins.as_ref();
        self.remember(&records);
        let mut found = self.look(&config).await?;
        let digests = records.values().filter_map(|record| Some(record.committed.as_ref()?.sha256));
        self.lifecycle.tries.keep_ended(digests.chain(found.digests.iter().cloned()).collect()).await;
        // A file that cannot even be read as a plugin stands for the plugin that it held before.
        let broken: Vec<(&String, &Build)> = records
            .iter()
            .filter(|(plugin, _)| required.is_none_or(|required| required.contains(plugin)))
            .filter(|(plugin, _)| !found.plugins.contains_key(*plugin))
            .filter_map(|(plugin, record)| Some((plugin, record.committed.as_ref()?)))
            .filter(|(plugin, build)| found.stands_for(plugin, build.file.as_ref()))
            .collect();
        found.failed.retain(|failed| !broken.iter().any(|(plugin, _)| **plugin == failed.what));
        let passed_over = found.passed_over();
        let Found { plugins, failed, warnings, .. } = found;
        let mut report = LoadReport { published: Vec::new(), failed, warnings };
        for (plugin, build) in broken {
            self.bring_back(plugin, build, config.plugin_dir.join(&build.file), &mut report).await;
        }
        // Builds that have served come first, so that they are not blamed for what a new build does to the host.
        let (proven, new): (Vec<_>, Vec<_>) =
            plugins.into_iter().partition(|(_, held)| self.lifecycle.registry.has_served(held.sha256));
        for (plugin, held) in proven.into_iter().chain(new) {
            self.bring_up_at_start(&plugin, held, records.get(&plugin), &mut report).await;
        }
        self.lifecycle.failures.replace(report.failed.iter().cloned(), &BTreeSet::new());
        self.record_all().await;
        self.files.stager.end_of_start();
        let passed_over = passed_over.map_or_else(String::new, |names| {
            let suffix = std::env::consts::DLL_SUFFIX;
            format!("; passed over, as their names do not end in {suffix}: {names}")
        });
        let (plugins, directory) = (report.published.len(), config.plugin_dir.display());
        let (noun, verb) = if plugins == 1 { ("plugin", "is") } else { ("plugins", "are") };
        tracing::info!("{plugins} {noun} of {directory} {verb} loaded{passed_over}");
        Ok(report)
    }

    /// Gives every recorded plugin its number and the builds that it can go back to.
    fn remember(&self, records: &BTreeMap<String, PluginRecord>) {
        for (plugin, record) in records {
            // What was committed to is one of those, if something else comes to serve now.
            let builds = record.committed.iter().chain(&record.kept);
            // Looked at here, used much later: then it is staged and hashed again.
            let kept = builds.flat_map(|build| Kept::recorded(build, &self.files.stager.folder)).collect();
            let entry = self.lifecycle.registry.entry(plugin);
            let mut state = entry.state();
            state.last_generation = record.last_generation;
            state.path =
                record.committed.as_ref().map(|build| self.lifecycle.config().plugin_dir.join(&build.file));
            state.file_digest = record.file_digest;
            state.refused_digest = record.refused_digest;
            state.kept = kept;
        }
    }

    async fn bring_up_at_start(
        &self,
        plugin: &str,
        held: Held,
        record: Option<&PluginRecord>,
        report: &mut LoadReport,
    ) {
        let (sha256, path) = (held.sha256, held.path.clone());
        let before = record.and_then(|record| Some((record, record.committed.as_ref()?)));
        let seen_before = before.is_some_and(|(record, _)| record.file_digest == Some(sha256));
        if self.lifecycle.is_left_out(sha256) {
            let serves = before.is_some_and(|(_, build)| build.sha256 != sha256);
            let (file, plugin) = (held.file(), plugin.to_owned());
            report.failed.push(held.refused(PluginError::EndedHost { file, plugin, serves }));
        } else if let Some((record, build)) = before
            && record.refused_digest == Some(sha256)
            && !seen_before
        {
            let (file, generation) = (held.file(), build.generation);
            report.failed.push(held.refused(PluginError::Tried { file, generation }));
        } else if before.is_none_or(|(_, build)| !seen_before || build.sha256 == sha256) {
            let number = before.filter(|_| seen_before).map(|(_, build)| build.generation);
            let started = async {
                let candidate = self.files.candidate(&self.lifecycle.config(), held).await?;
                self.start_and_publish(plugin, candidate, number, Some(sha256), report).await
            };
            match started.await {
                Ok(()) => return,
                Err(error) => report.failed.push(Failed::of_plugin(plugin, error, Some(sha256))),
            }
            if seen_before {
                return;
            }
        }
        if let Some((_, build)) = before {
            self.bring_back(plugin, build, path, report).await;
        }
    }

    /// Brings back what a plugin last committed to.
    async fn bring_back(&self, plugin: &str, committed: &Build, path: PathBuf, report: &mut LoadReport) {
        let Build { generation, sha256, ref file, ref copy, .. } = *committed;
        if self.lifecycle.is_left_out(sha256) {
            if !report.failed.iter().any(|failed| failed.sha256 == Some(sha256)) {
                let (file, of) = (file.clone(), plugin.to_owned());
                let error = PluginError::EndedHost { file, plugin: of, serves: false };
                report.failed.push(Failed::of_plugin(plugin, error, Some(sha256)));
            }
            return;
        }
        let brought_back = async {
            let config = self.lifecycle.config();
            let staged = self.files.stage_again(&config, (copy, sha256), file, path);
            let (candidate, file_digest) = staged.await?;
            self.start_and_publish(plugin, candidate, Some(generation), file_digest, report).await
        };
        match brought_back.await {
            Ok(()) => {
                tracing::warn!(
                    plugin,
                    generation,
                    "the generation that served last serves, not the file in the plugin directory"
                );
            }
            Err(error) => report.failed.push(Failed::of_plugin(plugin, error, Some(sha256))),
        }
    }

    async fn start_and_publish(
        &self,
        plugin: &str,
        candidate: Candidate,
        generation: Option<u64>,
        file_digest: Option<Digest>,
        report: &mut LoadReport,
    ) -> Result<(), PluginError> {
        let lock = self.lifecycle.lock(&self.lifecycle.registry.entry(plugin)).await?;
        let config = self.lifecycle.config();
        let request =
            StartRequest { config, generation, file_digest, allow_breaking: true, must_note: false };
        let ready = self.lifecycle.make_ready(lock, candidate, request, Stopwatch::start("load")).await?;
        let warnings = ready.generation.warnings();
        // All of them are recorded at once, at the end.
        self.lifecycle.publish(vec![ready], Vec::new(), false, || ()).await?;
        report.warnings.extend(warnings);
        report.published.push(plugin.to_owned());
        Ok(())
    }

    /// Commits to what serves after the start.
    async fn record_all(&self) {
        let most = self.lifecycle.config().reload.keep_generations;
        let mut staged = Vec::new();
        let mut records = Vec::new();
        for (plugin, entry) in self.lifecycle.registry.all() {
            let state = entry.state();
            if let Some(published) = &state.published {
                staged.push(Arc::clone(&published.generation.staged));
                records.push((plugin, state.record(most)));
            }
        }
        let mut book = self.lifecycle.records.open_book().await;
        if let Err(error) = book.write(staged, |plugins| plugins.extend(records)).await {
            tracing::warn!(
                "what serves cannot be recorded in the state directory: {error}; a rollback would not survive a restart"
            );
        }
    }
}
