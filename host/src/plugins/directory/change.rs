//! Changes of one plugin: load, reload, rollback, unload. Each leaves everything as it was if it fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Plugins;
use crate::plugins::error::PluginError;
use crate::plugins::file::candidate::Candidate;
use crate::plugins::file::listing::{is_plugin_file, list};
use crate::plugins::file::stage::digest;
use crate::plugins::lifecycle::publish::{Leaving, Origin, Ready, Turn};
use crate::plugins::registry::entry::Entry;
use crate::plugins::registry::failures::Failed;
use crate::plugins::registry::stopwatch::Stopwatch;
use crate::plugins::settings::Settings;
use crate::plugins::status::Change;

impl Plugins {
    /// Loads the new build of a plugin from the plugin directory and puts it in the place of the old one.
    ///
    /// # Errors
    /// [`PluginError`] with the step that failed; then the old build goes on serving.
    pub async fn reload(&self, name: &str, allow_breaking: bool) -> Result<Change, PluginError> {
        let entry = self.known(name)?;
        let changed = async {
            let turn = self.turn(&entry).await?;
            let mut watch = Stopwatch::start("reload");
            watch.show_in(&entry);
            let known = entry.state().path.clone();
            let candidate = self.find(name, known).await?;
            self.bring_up(turn, candidate, watch, allow_breaking).await
        };
        self.judged(name, changed.await)
    }

    /// Loads a plugin file of the plugin directory that was not there when the host started.
    ///
    /// # Errors
    /// As [`Plugins::reload`].
    pub async fn load(&self, file: &str) -> Result<Change, PluginError> {
        let is_name = Path::new(file).file_name().is_some_and(|name| name == file);
        if !is_name {
            return Err(PluginError::NotAFileName { file: file.chars().take(200).collect() });
        }
        if !is_plugin_file(file) {
            return Err(PluginError::NotAPluginFile { file: file.chars().take(200).collect() });
        }
        let changed = async {
            let (watch, settings) = (Stopwatch::start("load"), self.settings());
            let candidate = self.stage(&settings, &settings.directory.join(file)).await?;
            let entry = self.entry(candidate.name());
            let turn = self.turn(&entry).await?;
            if entry.state().published.is_some() {
                return Err(PluginError::AlreadyLoaded { plugin: candidate.name().to_owned() });
            }
            self.bring_up(turn, candidate, watch, true).await
        };
        self.judged(file, changed.await)
    }

    /// Brings a kept generation back: `generation`, or the newest one. It gets a new number.
    ///
    /// # Errors
    /// As [`Plugins::reload`], and [`PluginError::NotKept`].
    pub async fn rollback(&self, name: &str, generation: Option<u64>) -> Result<Change, PluginError> {
        let entry = self.known(name)?;
        let changed = async {
            let turn = self.turn(&entry).await?;
            let mut watch = Stopwatch::start("rollback");
            watch.show_in(&entry);
            let kept = {
                let state = entry.state();
                let mut kept = state.kept.iter();
                kept.find(|kept| generation.is_none_or(|number| kept.generation == number)).cloned()
            };
            let kept = kept.ok_or_else(|| {
                let kept = entry.state().kept.iter().map(|kept| kept.generation).collect();
                PluginError::NotKept { plugin: name.to_owned(), kept }
            })?;
            let (path, file) = (entry.state().path.clone(), kept.staged.file.clone());
            let path = path.unwrap_or_else(|| self.settings().directory.join(&file));
            let settings = self.settings();
            let (candidate, seen) =
                self.stage_again(&settings, (&kept.staged.copy, &kept.staged.sha256), &file, path).await?;
            let origin = Origin { settings, generation: None, seen, allow_breaking: true, must_note: true };
            let ready = self.make_ready(turn, candidate, origin, watch).await?;
            self.publish_one(ready).await
        };
        self.judged(name, changed.await)
    }

    /// Withdraws a plugin: its functions are gone, its last calls end, it stops. The next start loads it again, and
    /// so does a reload of the whole host, as long as its file is in the plugin directory.
    ///
    /// # Errors
    /// [`PluginError::Unknown`], or that the host is stopping.
    pub async fn unload(&self, name: &str) -> Result<Change, PluginError> {
        let entry = self.known(name)?;
        let changed = async {
            let turn = self.turn(&entry).await?;
            let mut watch = Stopwatch::start("unload");
            watch.show_in(&entry);
            if entry.state().published.is_none() {
                return Err(PluginError::NotPublished { plugin: name.to_owned() });
            }
            watch.begin("publish");
            let leaving = Leaving { turn, name: name.into(), watch };
            let changes = self.publish(Vec::new(), vec![leaving], false, || ()).await?;
            only(changes, name)
        };
        self.judged(name, changed.await)
    }

    /// Waits until no other change of the plugin is under way.
    ///
    /// # Errors
    /// That the host is stopping.
    pub(crate) async fn turn(&self, entry: &Arc<Entry>) -> Result<Turn, PluginError> {
        let held = Arc::clone(&entry.turn).lock_owned().await;
        if self.is_stopping() {
            Err(PluginError::Stopping)
        } else {
            Ok(Turn { entry: Arc::clone(entry), held })
        }
    }

    /// Logs a change, and keeps what `ready` says up to date.
    fn judged(&self, what: &str, changed: Result<Change, PluginError>) -> Result<Change, PluginError> {
        match &changed {
            Ok(change) => self.failures.forget(&change.plugin),
            Err(error) => {
                tracing::warn!(plugin = what, step = error.step(), "{error}; nothing has changed");
                // What cannot be done at all is no failure of the plugin.
                if let Ok(entry) = self.known(what)
                    && error.step() != "request"
                {
                    entry.note_failure(error);
                }
            }
        }
        changed
    }

    /// The file that holds a plugin: the one that did so far, or any other of the directory.
    async fn find(&self, name: &str, known: Option<PathBuf>) -> Result<Candidate, PluginError> {
        let settings = self.settings();
        if let Some(path) = known.filter(|path| path.exists()) {
            let candidate = self.stage(&settings, &path).await?;
            if candidate.name() == name {
                return Ok(candidate);
            }
        }
        let mut untrusted = None;
        for path in list(&settings.directory)?.plugins {
            match self.stage(&settings, &path).await {
                Ok(candidate) if candidate.name() == name => return Ok(candidate),
                Err(error @ (PluginError::Untrusted { .. } | PluginError::WritableDirectory { .. })) => {
                    untrusted.get_or_insert(error);
                }
                _ => {}
            }
        }
        // A file that is not trusted was not asked which plugin it holds: it may be this one.
        let directory = settings.directory.clone();
        Err(untrusted.unwrap_or_else(|| PluginError::NoFile { plugin: name.to_owned(), directory }))
    }

    /// Starts and publishes the build of an operator's file.
    pub(crate) async fn bring_up(
        &self,
        turn: Turn,
        candidate: Candidate,
        watch: Stopwatch,
        allow_breaking: bool,
    ) -> Result<Change, PluginError> {
        let (entry, name) = (Arc::clone(&turn.entry), candidate.name().to_owned());
        let sha256 = candidate.staged.sha256.clone();
        let (settings, seen) = (self.settings(), Some(sha256.clone()));
        let origin = Origin { settings, generation: None, seen, allow_breaking, must_note: true };
        let brought_up = async {
            let ready = self.make_ready(turn, candidate, origin, watch).await?;
            self.publish_one(ready).await
        };
        let brought_up = brought_up.await;
        if let Err(error) = &brought_up {
            self.note_refused(&entry, &name, &sha256, error).await;
            self.failures.note(Failed::of_plugin(&name, error.clone(), Some(sha256)));
        }
        brought_up
    }

    pub(crate) async fn publish_one(&self, ready: Ready) -> Result<Change, PluginError> {
        let plugin = Arc::clone(ready.plugin());
        only(self.publish(vec![ready], Vec::new(), true, || ()).await?, &plugin)
    }

    /// Records that a build was refused: neither the next start nor the watcher tries it again, as long as there is one
    /// that serves.
    pub(crate) async fn note_refused(&self, entry: &Entry, plugin: &str, sha256: &str, error: &PluginError) {
        let refused = Some(sha256.to_owned());
        if error.is_of_this_process() || entry.state().seen == refused {
            return;
        }
        entry.state().tried.clone_from(&refused);
        let change = |plugins: &mut std::collections::BTreeMap<
            String,
            crate::plugins::registry::record::PluginRecord,
        >| {
            let served = plugins.get_mut(plugin).filter(|record| record.committed.is_some());
            if let Some(record) = served.filter(|record| record.seen != refused) {
                record.tried = refused;
            }
        };
        if let Err(error) = self.records.open_book().await.write(Vec::new(), change).await {
            tracing::warn!(
                plugin,
                "the state directory cannot be written to: {error}; the next start tries this build again"
            );
        }
    }

    /// Stages a copy that was kept, once more; also answers the digest of the operator's file, which it stands for.
    ///
    /// # Errors
    /// As staging, and [`PluginError::Altered`].
    pub(crate) async fn stage_again(
        &self,
        settings: &Settings,
        (copy, sha256): (&str, &str),
        file: &str,
        path: PathBuf,
    ) -> Result<(Candidate, Option<String>), PluginError> {
        let (name, copy, original) = (copy.to_owned(), copy.to_owned(), path.clone());
        let candidate = self
            .off_the_workers(settings, name, move |stager, trust| {
                Candidate::stage_again(&copy, &original, stager, trust)
            })
            .await;
        let mut candidate = candidate.map_err(|error| error.of_file(file))?;
        if candidate.staged.sha256 != sha256 {
            return Err(PluginError::Altered { file: file.to_owned() });
        }
        file.clone_into(&mut candidate.staged.file);
        candidate.path.clone_from(&path);
        let seen = tokio::task::spawn_blocking(move || digest(&path)).await.unwrap_or_default();
        Ok((candidate, seen))
    }
}

/// The one change that was asked for.
fn only(changes: Vec<Change>, plugin: &str) -> Result<Change, PluginError> {
    changes.into_iter().next().ok_or_else(|| PluginError::NotPublished { plugin: plugin.to_owned() })
}
