//! Changes of one plugin: load, reload, rollback, unload. Each leaves everything as it was if it fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::candidate::{Candidate, is_plugin_file, plugin_files};
use super::entry::{Entry, Published};
use super::generation::{FailedStart, Generation, Lease, Lost, StartedGeneration, on_thread};
use super::library::Library;
use super::report::{Change, Stopwatch};
use super::unmap::unmap;
use super::{PluginError, Plugins, compatibility};
use crate::config::Unmap;

/// How long `on_stop` may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls may take to end once they were cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

impl Plugins {
    /// Loads the new build of a plugin from the plugin directory and puts it in the place of the old one.
    ///
    /// # Errors
    /// [`PluginError`] with the step that failed; then the old build goes on serving.
    pub async fn reload(&self, name: &str, allow_breaking: bool) -> Result<Change, PluginError> {
        let entry = self.known(name)?;
        let changed = async {
            let _turn = self.turn(&entry).await?;
            let watch = Stopwatch::start();
            let known = entry.state().path.clone();
            let candidate = self.find(name, known).await?;
            self.bring_up(&entry, candidate, watch, allow_breaking).await
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
            let candidate = self.stage(&self.settings.directory.join(file)).await?;
            let entry = self.entry(candidate.name());
            let _turn = self.turn(&entry).await?;
            if entry.state().published.is_some() {
                return Err(PluginError::AlreadyLoaded { plugin: candidate.name().to_owned() });
            }
            self.bring_up(&entry, candidate, Stopwatch::start(), true).await
        };
        self.judged(file, changed.await)
    }

    /// Brings a kept generation back: `generation`, or the newest one. It gets a new number.
    ///
    /// # Errors
    /// As [`Plugins::reload`], and [`PluginError::NotKept`].
    pub async fn rollback(&self, name: &str, generation: Option<u64>) -> Result<Change, PluginError> {
        let entry = self.known(name)?;
        let _turn = self.turn(&entry).await?;
        let watch = Stopwatch::start();
        let kept = {
            let state = entry.state();
            let wanted = |kept: &&Arc<Generation>| generation.is_none_or(|number| kept.number == number);
            state.kept.iter().find(wanted).map(Arc::clone)
        };
        let kept = kept.ok_or_else(|| {
            let kept = entry.state().kept.iter().map(|kept| kept.number).collect();
            PluginError::NotKept { plugin: name.to_owned(), kept }
        })?;
        let candidate = self.stage_copy(&kept.staged.path).await;
        let mut candidate = candidate.map_err(|error| error.of_file(&kept.staged.file))?;
        candidate.staged.file.clone_from(&kept.staged.file);
        candidate.path = entry.state().path.clone().unwrap_or(candidate.path);
        self.bring_up(&entry, candidate, watch, true).await
    }

    /// Withdraws a plugin: its functions are gone, its last calls end, it stops.
    ///
    /// # Errors
    /// [`PluginError::Unknown`], or that the host is stopping.
    pub async fn unload(&self, name: &str) -> Result<Change, PluginError> {
        let entry = self.known(name)?;
        let _turn = self.turn(&entry).await?;
        let mut watch = Stopwatch::start();
        let withdrawn = self.withdraw(name, &entry, self.settings.drain_timeout, &mut watch).await;
        let Some((previous, cancelled_calls)) = withdrawn else {
            return Err(PluginError::NotPublished { plugin: name.to_owned() });
        };
        Ok(Change {
            plugin: name.to_owned(),
            generation: None,
            previous: Some(previous),
            sha256: None,
            steps: watch.steps(),
            cancelled_calls,
        })
    }

    async fn turn<'a>(&self, entry: &'a Entry) -> Result<tokio::sync::MutexGuard<'a, ()>, PluginError> {
        let turn = entry.turn.lock().await;
        if self.stopping.load(Ordering::Relaxed) { Err(PluginError::Stopping) } else { Ok(turn) }
    }

    /// Logs a change, and keeps what `ready` says up to date.
    fn judged(&self, what: &str, changed: Result<Change, PluginError>) -> Result<Change, PluginError> {
        match &changed {
            Ok(change) => self.note_failure(&change.plugin, None),
            Err(error) => tracing::warn!(plugin = what, step = error.step(), "{error}; nothing has changed"),
        }
        changed
    }

    /// The file that holds a plugin: the one that did so far, or any other of the directory.
    async fn find(&self, name: &str, known: Option<PathBuf>) -> Result<Candidate, PluginError> {
        if let Some(path) = known.filter(|path| path.exists()) {
            let candidate = self.stage(&path).await?;
            if candidate.name() == name {
                return Ok(candidate);
            }
        }
        let mut untrusted = None;
        for path in plugin_files(&self.settings.directory)? {
            match self.stage(&path).await {
                Ok(candidate) if candidate.name() == name => return Ok(candidate),
                Err(error @ (PluginError::Untrusted { .. } | PluginError::WritableDirectory { .. })) => {
                    untrusted.get_or_insert(error);
                }
                _ => {}
            }
        }
        // A file that is not trusted was not asked which plugin it holds: it may be this one.
        Err(untrusted.unwrap_or_else(|| PluginError::NoFile {
            plugin: name.to_owned(),
            directory: self.settings.directory.clone(),
        }))
    }

    /// Loads, starts and publishes a staged file, then retires what was published before. The caller has the turn.
    pub(super) async fn bring_up(
        &self,
        entry: &Entry,
        candidate: Candidate,
        mut watch: Stopwatch,
        allow_breaking: bool,
    ) -> Result<Change, PluginError> {
        watch.lap("stage");
        let path = candidate.path.clone();
        let number = entry.next_generation();
        let StartedGeneration { generation, lease, functions } =
            self.start(entry, candidate, number, &mut watch).await?;
        let plugin = Arc::clone(&generation.plugin);
        if !allow_breaking {
            let breaks = compatibility::breaks(&self.table.snapshot(), &plugin, &functions);
            if !breaks.is_empty() {
                drop(functions);
                self.discard(entry, generation, lease).await;
                return Err(PluginError::Breaking { plugin, breaks });
            }
        }
        let names = functions.iter().map(|function| function.name.clone()).collect();
        if let Err(source) = self.table.publish(&plugin, functions) {
            self.discard(entry, generation, lease).await;
            return Err(PluginError::Publish { plugin, source });
        }
        watch.lap("publish");
        // Set once: a generation is published once.
        let _first = generation.published_at.set(SystemTime::now());
        let file = generation.staged.file.clone();
        let sha256 = generation.staged.sha256.clone();
        tracing::info!(
            plugin = &*plugin,
            generation = number,
            version = generation.description.version,
            file,
            "published"
        );
        self.note_failure(&file, None);
        let published = Published { generation, functions: names, lease };
        let old = {
            let mut state = entry.state();
            state.path = Some(path);
            state.published.replace(published)
        };
        self.tell_change();
        let previous = old.as_ref().map(|old| old.generation.number);
        let cancelled_calls = match old {
            Some(old) => self.retire(entry, old, self.settings.drain_timeout, &mut watch).await,
            None => 0,
        };
        let sha256 = Some(sha256);
        Ok(Change {
            plugin: plugin.to_string(),
            generation: Some(number),
            previous,
            sha256,
            steps: watch.steps(),
            cancelled_calls,
        })
    }

    async fn start(
        &self,
        entry: &Entry,
        candidate: Candidate,
        number: u64,
        watch: &mut Stopwatch,
    ) -> Result<StartedGeneration, PluginError> {
        let Candidate { staged, object, .. } = candidate;
        let description = object.description.clone();
        let plugin: Arc<str> = description.name.as_str().into();
        let copy = staged.path.clone();
        let timeout = self.services.start_timeout;
        // Constructors of the library run here: on a thread that ends.
        let opened =
            on_thread(&plugin, move || (Library::open(&staged, &object), staged))?.wait(timeout).await;
        let (library, staged) = match opened {
            Ok(opened) => opened,
            Err(lost) => {
                entry.note_mapped(number, &copy, "its constructors did not end");
                let reason = match lost {
                    Lost::Died => "its load thread died".to_owned(),
                    Lost::Hangs => format!("its constructors did not end within {} ms", timeout.as_millis()),
                };
                return Err(PluginError::Start { plugin, reason });
            }
        };
        watch.lap("load");
        let library =
            library.inspect_err(|_| entry.note_mapped(number, &copy, "it failed at the step load"))?;
        let config = (self.settings.of_plugin)(&plugin);
        match Generation::start(library, description, staged, number, config, &self.services).await {
            Ok(started) => {
                watch.lap("start");
                Ok(started)
            }
            Err(FailedStart { error, generation }) => {
                self.lay_to_rest(entry, &generation).await;
                Err(error)
            }
        }
    }

    /// Unmaps the library of a generation that was stopped, or notes why it stays mapped.
    async fn lay_to_rest(&self, entry: &Entry, generation: &Arc<Generation>) {
        let unmapped = match self.settings.unmap {
            // Workers are about to end, and the process with them: nothing is to be gained.
            _ if self.stopping.load(Ordering::Relaxed) => return,
            Unmap::Safe => unmap(generation).await,
            Unmap::Never => Err("[reload] unmap = \"never\"".to_owned()),
        };
        if let Err(reason) = unmapped {
            tracing::warn!(
                plugin = &*generation.plugin,
                generation = generation.number,
                reason,
                "the library stays mapped"
            );
            entry.note_mapped(generation.number, &generation.staged.path, reason);
        }
    }

    /// Stops a generation that was started and will not be published.
    async fn discard(&self, entry: &Entry, generation: Arc<Generation>, lease: Lease) {
        generation.begin_retirement();
        drop(lease);
        if generation.drain(STOP_TIMEOUT).await {
            generation.stop(STOP_TIMEOUT).await;
            self.lay_to_rest(entry, &generation).await;
        } else {
            entry.note_mapped(generation.number, &generation.staged.path, "something of it is still in use");
        }
    }

    /// Takes the published generation of a plugin out of the table and retires it; answers its number and how many
    /// calls were cancelled.
    pub(super) async fn withdraw(
        &self,
        name: &str,
        entry: &Entry,
        drain_timeout: Duration,
        watch: &mut Stopwatch,
    ) -> Option<(u64, usize)> {
        let old = entry.state().published.take()?;
        if let Err(error) = self.table.publish(name, Vec::new()) {
            tracing::error!(plugin = name, "{error}");
        }
        watch.lap("publish");
        self.tell_change();
        let number = old.generation.number;
        Some((number, self.retire(entry, old, drain_timeout, watch).await))
    }

    /// Waits for the last call of a generation that is out of the table, then stops it.
    ///
    /// Past the deadline its calls are dropped; answers how many.
    async fn retire(
        &self,
        entry: &Entry,
        old: Published,
        drain_timeout: Duration,
        watch: &mut Stopwatch,
    ) -> usize {
        let Published { generation, lease, .. } = old;
        let leases = lease.downgrade();
        generation.begin_retirement();
        drop(lease);
        entry.state().draining = true;
        let mut cancelled_calls = 0;
        let mut drained = generation.drain(drain_timeout).await;
        if !drained {
            cancelled_calls = leases.count();
            tracing::warn!(
                plugin = &*generation.plugin,
                generation = generation.number,
                calls = cancelled_calls,
                "the drain deadline passed: calls are dropped"
            );
            generation.cancel_calls();
            drained = generation.drain(CANCEL_TIMEOUT).await;
        }
        watch.lap("drain");
        if drained {
            generation.stop(STOP_TIMEOUT).await;
            watch.lap("stop");
            self.lay_to_rest(entry, &generation).await;
            watch.lap("retire");
        } else {
            tracing::warn!(
                plugin = &*generation.plugin,
                generation = generation.number,
                "not stopped: calls are still running"
            );
            entry.note_mapped(
                generation.number,
                &generation.staged.path,
                "its calls did not end, even when cancelled",
            );
        }
        let mut state = entry.state();
        state.draining = false;
        state.kept.push_front(generation);
        state.kept.truncate(self.settings.keep_generations);
        cancelled_calls
    }
}
