//! Changes of one plugin: load, reload, rollback, unload. Each leaves everything as it was if it fails.

use std::path::{Path, PathBuf};

use super::Plugins;
use crate::api::ChangeView;
use crate::plugins::error::PluginError;
use crate::plugins::file::candidate::Candidate;
use crate::plugins::file::listing::{is_plugin_file, list};
use crate::plugins::file::stage::Staged;
use crate::plugins::lifecycle::publish::{Withdrawal, only};
use crate::plugins::registry::stopwatch::Stopwatch;
use crate::plugins::step::LifecycleStep;

impl Plugins {
    /// Loads the new build of a plugin from the plugin directory, in exchange for the one that serves.
    ///
    /// # Errors
    /// [`PluginError`] with the step that failed; then the old build goes on serving.
    pub async fn reload(&self, name: &str, allow_breaking: bool) -> Result<ChangeView, PluginError> {
        let entry = self.lifecycle.registry.find(name)?;
        let changed = async {
            let lock = self.lifecycle.lock(&entry).await?;
            let watch = Stopwatch::start("reload").shown_in(&entry);
            let known = entry.state().path.clone();
            let candidate = self.find(name, known).await?;
            self.lifecycle.bring_up(lock, candidate, watch, allow_breaking).await
        };
        self.log_result(name, changed.await)
    }

    /// Loads a plugin file of the plugin directory that was not there when the host started.
    ///
    /// # Errors
    /// As [`Plugins::reload`].
    pub async fn load(&self, file: &str) -> Result<ChangeView, PluginError> {
        let is_name = Path::new(file).file_name().is_some_and(|name| name == file);
        if !is_name {
            return Err(PluginError::NotAFileName(file.chars().take(200).collect()));
        }
        if !is_plugin_file(file) {
            return Err(PluginError::NotAPluginFile(file.chars().take(200).collect()));
        }
        let changed = async {
            let (watch, config) = (Stopwatch::start("load"), self.lifecycle.config());
            let candidate = self.files.stage(&config, &config.plugin_dir.join(file)).await?;
            let entry = self.lifecycle.registry.entry(candidate.name());
            let lock = self.lifecycle.lock(&entry).await?;
            if entry.state().published.is_some() {
                return Err(PluginError::AlreadyLoaded(candidate.name().to_owned()));
            }
            self.lifecycle.bring_up(lock, candidate, watch, true).await
        };
        self.log_result(file, changed.await)
    }

    /// Brings back the kept generation `generation`, or the newest one, under a new number.
    ///
    /// # Errors
    /// As [`Plugins::reload`], and [`PluginError::NotKept`].
    pub async fn rollback(&self, name: &str, generation: Option<u64>) -> Result<ChangeView, PluginError> {
        let entry = self.lifecycle.registry.find(name)?;
        let changed = async {
            let lock = self.lifecycle.lock(&entry).await?;
            let watch = Stopwatch::start("rollback").shown_in(&entry);
            let kept = {
                let state = entry.state();
                let mut kept = state.kept.iter();
                kept.find(|kept| generation.is_none_or(|number| kept.generation == number)).cloned()
            };
            let kept = kept.ok_or_else(|| {
                let kept = entry.state().kept.iter().map(|kept| kept.generation).collect();
                PluginError::NotKept { plugin: name.to_owned(), kept }
            })?;
            let Staged { sha256, ref copy, ref file, .. } = *kept.staged;
            let (config, path) = (self.lifecycle.config(), entry.state().path.clone());
            let path = path.unwrap_or_else(|| config.plugin_dir.join(file));
            let (candidate, file_digest) =
                self.files.stage_again(&config, (copy, sha256), file, path).await?;
            self.lifecycle.replace(lock, candidate, file_digest, true, watch).await
        };
        self.log_result(name, changed.await)
    }

    /// Withdraws a plugin: its functions go, its last calls end, it stops. As long as its file is in the plugin directory,
    /// the next start loads it again, and so does a reload of the whole host.
    ///
    /// # Errors
    /// [`PluginError::Unknown`], or that the host is stopping.
    pub async fn unload(&self, name: &str) -> Result<ChangeView, PluginError> {
        let entry = self.lifecycle.registry.find(name)?;
        let changed = async {
            let lock = self.lifecycle.lock(&entry).await?;
            let mut watch = Stopwatch::start("unload").shown_in(&entry);
            if entry.state().published.is_none() {
                return Err(PluginError::NotPublished(name.to_owned()));
            }
            watch.begin(LifecycleStep::Publish);
            let leaving = Withdrawal { lock, name: name.into(), watch };
            let changes = self.lifecycle.publish(Vec::new(), vec![leaving], false, || ()).await?;
            only(changes, name)
        };
        self.log_result(name, changed.await)
    }

    /// Logs a change that failed, and keeps the failures of `ready` up to date.
    fn log_result(
        &self,
        what: &str,
        changed: Result<ChangeView, PluginError>,
    ) -> Result<ChangeView, PluginError> {
        match &changed {
            Ok(change) => self.lifecycle.failures.forget(&change.plugin),
            Err(error) => self.note_failure(what, error),
        }
        changed
    }

    /// Logs a change of a file or plugin that failed, and notes it in the plugin.
    pub(super) fn note_failure(&self, what: &str, error: &PluginError) {
        tracing::warn!(plugin = what, step = error.step().as_str(), "{error}; nothing has changed");
        // A request that makes no sense is not a failure of the plugin.
        if let Ok(entry) = self.lifecycle.registry.find(what)
            && error.step() != LifecycleStep::Request
        {
            entry.note_failure(error);
        }
    }

    /// Finds the file that holds a plugin: first the one that held it before, then any other of the directory.
    async fn find(&self, name: &str, known: Option<PathBuf>) -> Result<Candidate, PluginError> {
        let config = self.lifecycle.config();
        if let Some(path) = known.filter(|path| path.exists()) {
            let candidate = self.files.stage(&config, &path).await?;
            if candidate.name() == name {
                return Ok(candidate);
            }
        }
        let mut untrusted = None;
        for path in list(&config.plugin_dir)?.plugins {
            match self.files.stage(&config, &path).await {
                Ok(candidate) if candidate.name() == name => return Ok(candidate),
                Err(error @ (PluginError::Untrusted { .. } | PluginError::WritableDirectory { .. })) => {
                    untrusted.get_or_insert(error);
                }
                _ => {}
            }
        }
        // A file that is not trusted was not opened far enough to tell its plugin, which may be this one.
        let directory = config.plugin_dir.clone();
        Err(untrusted.unwrap_or_else(|| PluginError::NoFile { plugin: name.to_owned(), directory }))
    }
}
