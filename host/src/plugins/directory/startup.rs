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
use crate::plugins::registry::entry::{Entry, Kept};
use crate::plugins::registry::failures::Failed;
use crate::plugins::registry::record::{Build, PluginRecord};
use crate::plugins::registry::stopwatch::Stopwatch;
use crate::plugins::states::PluginAction;

/// The outcome of loading a directory.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Names of the plugins that are published.
    pub published: Vec<String>,
    /// The files and plugins that failed, with the reason.
    pub failed: Vec<(String, PluginError)>,
    /// Warnings, one sentence each, which are in the log already.
    pub warnings: Vec<String>,
}

/// The outcome of the start so far.
#[derive(Default)]
struct Report {
    published: Vec<String>,
    failed: Vec<Failed>,
}

impl Plugins {
    /// Loads every plugin file of the directory, or only the files of the `required` plugins.
    ///
    /// A file that is as it was when the host last ran stands for what served then, which after a rollback is another
    /// build. A bad file does not keep the others from loading; where an earlier build served, that serves again. A
    /// build that ended the host while it was loaded is left out.
    ///
    /// # Errors
    /// [`PluginError::Directory`], if the directory cannot be read at all, and [`PluginError::WritableDirectory`].
    pub async fn load_directory(&self, required: Option<&[String]>) -> Result<LoadReport, PluginError> {
        let records = self.lifecycle.records.plugins().await;
        let settings = self.lifecycle.settings();
        self.remember(&records);
        let mut found = self.look(&settings, required).await?;
        let digests = records.values().filter_map(|record| Some(record.committed.as_ref()?.sha256));
        self.lifecycle.tries.keep_ended(digests.chain(found.digests.iter().cloned()).collect()).await;
        // A file that cannot even be read as a plugin stands for the plugin that it held before.
        let broken: Vec<(String, String)> = records
            .iter()
            .filter(|(plugin, _)| required.is_none_or(|required| required.contains(plugin)))
            .filter(|(plugin, _)| !found.plugins.contains_key(*plugin))
            .filter_map(|(plugin, record)| Some((plugin.clone(), record.committed.as_ref()?.file.clone())))
            .filter(|(plugin, file)| found.stands_for(plugin, file.as_ref()))
            .collect();
        found.failed.retain(|failed| !broken.iter().any(|(plugin, _)| *plugin == failed.what));
        let passed_over = found.passed_over();
        let Found { plugins, failed, mut warnings, .. } = found;
        let mut report = Report { published: Vec::new(), failed };
        for (plugin, file) in broken {
            let path = settings.directory.join(file);
            self.bring_back(&plugin, &records, path, &mut report).await;
        }
        // Builds that have served come first, so that they are not blamed for what a new build does to the host.
        let (proven, new): (Vec<_>, Vec<_>) =
            plugins.into_iter().partition(|(_, held)| self.lifecycle.registry.has_served(held.sha256));
        for (plugin, held) in proven.into_iter().chain(new) {
            self.bring_up_at_start(&plugin, held, &records, &mut report).await;
        }
        for plugin in &report.published {
            warnings.extend(self.lifecycle.registry.entry(plugin).warnings());
        }
        self.lifecycle.failures.replace(report.failed.iter().cloned(), &BTreeSet::new());
        self.record_all().await;
        self.files.stager.end_of_start();
        let passed_over = passed_over.map_or_else(String::new, |names| {
            let suffix = std::env::consts::DLL_SUFFIX;
            format!("; passed over, as their names do not end in {suffix}: {names}")
        });
        let (plugins, directory) = (report.published.len(), settings.directory.display());
        let (noun, verb) = if plugins == 1 { ("plugin", "is") } else { ("plugins", "are") };
        tracing::info!("{plugins} {noun} of {directory} {verb} loaded{passed_over}");
        let failed = report.failed.into_iter().map(|failed| (failed.what, failed.error)).collect();
        Ok(LoadReport { published: report.published, failed, warnings })
    }

    /// Gives every recorded plugin its number and the builds that it can go back to.
    fn remember(&self, records: &BTreeMap<String, PluginRecord>) {
        for (plugin, record) in records {
            let mut kept = Vec::new();
            // What was committed to is one of those, if something else comes to serve now.
            for build in record.committed.iter().chain(&record.kept) {
                // Looked at here, used much later: then it is staged and hashed again.
                kept.extend(
                    build.staged(self.files.stager.folder()).map(|staged| Kept::recorded(build, staged)),
                );
            }
            let entry = self.lifecycle.registry.entry(plugin);
            let mut state = entry.state();
            state.last_generation = record.last_generation;
            state.path =
                record.committed.as_ref().map(|build| self.lifecycle.settings().directory.join(&build.file));
            state.file_digest = record.file_digest;
            state.refused_digest = record.refused_digest;
            state.kept = kept.into();
        }
    }

    async fn bring_up_at_start(
        &self,
        plugin: &str,
        held: Held,
        records: &BTreeMap<String, PluginRecord>,
        report: &mut Report,
    ) {
        let sha256 = Some(held.sha256);
        let record = records.get(plugin).filter(|record| record.committed.is_some());
        let committed = record.and_then(|record| record.committed.as_ref());
        let (file, path) = (held.file(), held.path.clone());
        if self.lifecycle.is_left_out(held.sha256) {
            let serves = committed.is_some_and(|build| build.sha256 != held.sha256);
            report.failed.push(held.refused(PluginError::EndedHost {
                file,
                plugin: plugin.to_owned(),
                serves,
            }));
            return self.bring_back(plugin, records, path, report).await;
        }
        if let Some(record) =
            record.filter(|record| record.refused_digest == sha256 && record.file_digest != sha256)
        {
            let generation = record.committed.as_ref().map_or(0, |build| build.generation);
            report.failed.push(held.refused(PluginError::Tried { file, generation }));
            return self.bring_back(plugin, records, path, report).await;
        }
        let seen_before = record.is_some_and(|record| record.file_digest == sha256);
        if seen_before && committed.is_some_and(|build| Some(&build.sha256) != sha256.as_ref()) {
            return self.bring_back(plugin, records, path, report).await;
        }
        let number = committed.filter(|_| seen_before).map(|build| build.generation);
        let entry = self.lifecycle.registry.entry(plugin);
        let started = async {
            let candidate = self.files.candidate(&self.lifecycle.settings(), held).await?;
            self.start_and_publish(&entry, candidate, number, sha256).await
        };
        match started.await {
            Ok(()) => report.published.push(plugin.to_owned()),
            Err(error) => {
                report.failed.push(Failed::of_plugin(plugin, error, sha256));
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
        report: &mut Report,
    ) {
        let Some(committed) = records.get(plugin).and_then(|record| record.committed.as_ref()) else {
            return;
        };
        let Build { file, generation, .. } = committed;
        let sha256 = committed.sha256;
        if self.lifecycle.is_left_out(sha256) {
            let (file, named) =
                (file.clone(), report.failed.iter().any(|failed| failed.sha256 == Some(sha256)));
            let error = PluginError::EndedHost { file, plugin: plugin.to_owned(), serves: false };
            if !named {
                report.failed.push(Failed::of_plugin(plugin, error, Some(sha256)));
            }
            return;
        }
        let brought_back = async {
            let copy = committed.copy();
            let (candidate, file_digest) =
                self.files.stage_again(&self.lifecycle.settings(), (copy, sha256), file, path).await?;
            self.start_and_publish(
                &self.lifecycle.registry.entry(plugin),
                candidate,
                Some(*generation),
                file_digest,
            )
            .await
        };
        match brought_back.await {
            Ok(()) => {
                tracing::warn!(
                    plugin,
                    generation,
                    "the generation that served last serves, not the file in the plugin directory"
                );
                report.published.push(plugin.to_owned());
            }
            Err(error) => {
                report.failed.push(Failed::of_plugin(plugin, error, Some(sha256)));
            }
        }
    }

    async fn start_and_publish(
        &self,
        entry: &Arc<Entry>,
        candidate: Candidate,
        generation: Option<u64>,
        file_digest: Option<Digest>,
    ) -> Result<(), PluginError> {
        let lock = self.lifecycle.lock(entry).await?;
        let request = StartRequest {
            settings: self.lifecycle.settings(),
            generation,
            file_digest,
            allow_breaking: true,
            must_note: false,
        };
        let ready =
            self.lifecycle.make_ready(lock, candidate, request, Stopwatch::start(PluginAction::Load)).await?;
        // All of them are recorded at once, at the end.
        self.lifecycle.publish(vec![ready], Vec::new(), false, || ()).await.map(drop)
    }

    /// Commits to what serves after the start.
    async fn record_all(&self) {
        let most = self.lifecycle.settings().keep_generations;
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
