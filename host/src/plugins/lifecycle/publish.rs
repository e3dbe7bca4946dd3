//! From a staged file to published functions: start it where nobody sees it, then publish it in one swap,
//! alone or together with others. Before the swap, everything can be undone; after it, nothing fails any more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::sync::OwnedMutexGuard;

use super::compatibility;
use crate::base::flush_log;
use crate::functions::{Function, Publication};
use crate::plugins::directory::Plugins;
use crate::plugins::error::PluginError;
use crate::plugins::file::candidate::Candidate;
use crate::plugins::file::stage::Staged;
use crate::plugins::load::generation::{FailedStart, Generation, StartedGeneration};
use crate::plugins::load::library::Library;
use crate::plugins::load::on_thread::Lost;
use crate::plugins::load::{companions, mapper};
use crate::plugins::native;
use crate::plugins::registry::entry::{Entry, Published};
use crate::plugins::registry::record::PluginRecord;
use crate::plugins::registry::stopwatch::Stopwatch;
use crate::plugins::run::lease::Lease;
use crate::plugins::settings::{PluginConfig, Settings};
use crate::plugins::status::Change;

/// The right to change a plugin.
pub(crate) struct Turn {
    pub(crate) entry: Arc<Entry>,
    pub(crate) held: OwnedMutexGuard<()>,
}

/// A generation that has started, and that nobody sees yet.
pub(crate) struct Ready {
    turn: Turn,
    generation: Arc<Generation>,
    functions: Vec<Function>,
    config: PluginConfig,
    path: PathBuf,
    seen: Option<String>,
    watch: Stopwatch,
    lease: Lease,
}

/// A plugin that is to be gone.
pub(crate) struct Leaving {
    pub(crate) turn: Turn,
    pub(crate) name: Arc<str>,
    pub(crate) watch: Stopwatch,
}

/// What of a staged file is known besides its bytes.
pub(crate) struct Origin {
    /// What the config says, perhaps one that is not in force yet.
    pub(crate) settings: Arc<Settings>,
    /// Its number; the next one if it never had one.
    pub(crate) generation: Option<u64>,
    /// Digest of the operator's file at this moment.
    pub(crate) seen: Option<String>,
    /// Whether callers of the old build may break.
    pub(crate) allow_breaking: bool,
    /// Nothing of it runs if the disk does not take the note that it is tried.
    pub(crate) must_note: bool,
}

impl Plugins {
    /// Loads and starts a staged file.
    ///
    /// # Errors
    /// [`PluginError`] with the step that failed; whatever had started is stopped again.
    pub(crate) async fn make_ready(
        &self,
        turn: Turn,
        candidate: Candidate,
        origin: Origin,
        mut watch: Stopwatch,
    ) -> Result<Ready, PluginError> {
        watch.show_in(&turn.entry);
        let path = candidate.path.clone();
        let Origin { settings, generation, seen, allow_breaking, must_note } = origin;
        let number = generation.unwrap_or_else(|| turn.entry.next_generation());
        let config = (settings.config_of)(candidate.name());
        let sha256 = candidate.staged.sha256.clone();
        candidate.check_mount()?;
        self.note_try(&candidate, must_note).await?;
        let started = self
            .start(&turn.entry, candidate, number, (config.clone(), settings.start_timeout), &mut watch)
            .await;
        self.tries.survived(&sha256).await;
        let StartedGeneration { generation, lease, functions } = started?;
        let ready = Ready { turn, generation, functions, config, path, seen, watch, lease };
        if !allow_breaking {
            let plugin = Arc::clone(&ready.generation.plugin);
            let breaks = compatibility::breaks(&self.table.snapshot(), &plugin, &ready.functions);
            if !breaks.is_empty() {
                self.discard(ready).await;
                return Err(PluginError::Breaking { plugin, breaks });
            }
        }
        Ok(ready)
    }

    /// Says in the log and on disk which build is loaded, before any of its code runs: it may end the host, and the log is
    /// written by then.
    async fn note_try(&self, candidate: &Candidate, must: bool) -> Result<(), PluginError> {
        let (plugin, Staged { file, sha256, .. }) = (candidate.name(), &candidate.staged);
        tracing::info!(plugin, file, sha256, "loading");
        if let Err(error) = tokio::task::spawn_blocking(flush_log).await {
            tracing::warn!("the log was not flushed: {error}");
        }
        match self.tries.begin(sha256, plugin, file).await {
            Ok(()) => Ok(()),
            Err(source) if must => {
                Err(PluginError::Record { plugin: plugin.into(), step: "stage", source: source.into() })
            }
            Err(error) => {
                tracing::warn!(
                    plugin,
                    "the state directory cannot be written to: {error}; if this build ends the host, the next start tries it again"
                );
                Ok(())
            }
        }
    }

    async fn start(
        &self,
        entry: &Entry,
        candidate: Candidate,
        number: u64,
        (config, timeout): (PluginConfig, Duration),
        watch: &mut Stopwatch,
    ) -> Result<StartedGeneration, PluginError> {
        let Candidate { staged, object, companions, .. } = candidate;
        let description = object.description.clone();
        let plugin: Arc<str> = description.name.as_str().into();
        let copy = staged.copy.clone();
        watch.begin("load");
        let addresses = mapper::ADDRESSES.lock().await;
        let name = Arc::clone(&plugin);
        let open = move || {
            let mapped = companions::map(companions, &name, &staged.file);
            (mapped.and_then(|()| Library::open(&staged, &object)), staged, native::look())
        };
        let opened = mapper::run(&plugin, timeout, open).await;
        drop(addresses);
        let (library, staged, changed) = match opened? {
            Ok(opened) => opened,
            Err(lost) => {
                entry.note_mapped(number, &copy, "its constructors did not end");
                let reason = match lost {
                    Lost::Died | Lost::Aborted(_) => "mapping it panicked".to_owned(),
                    Lost::Hangs => format!("its constructors did not end within {} ms", timeout.as_millis()),
                };
                return Err(PluginError::Start { plugin, reason });
            }
        };
        let library =
            library.inspect_err(|_| entry.note_mapped(number, &copy, "it failed at the step load"))?;
        watch.begin("start");
        let library = (library, changed);
        let started =
            Generation::start(library, description, staged, number, config, &self.services, timeout);
        match started.await {
            Ok(started) => Ok(started),
            Err(FailedStart { error, generation }) => {
                self.lay_to_rest(entry, &generation).await;
                Err(error)
            }
        }
    }

    /// Publishes what is ready and withdraws what is leaving, in one swap, then retires what served before.
    ///
    /// `also` runs right after the swap. With `record`, what is published is committed to before: on disk.
    ///
    /// # Errors
    /// [`PluginError::Publish`] and [`PluginError::Record`]; then nothing has changed, and all that was ready is
    /// stopped again.
    pub(crate) async fn publish(
        &self,
        mut ready: Vec<Ready>,
        leaving: Vec<Leaving>,
        record: bool,
        also: impl FnOnce(),
    ) -> Result<Vec<Change>, PluginError> {
        ready.iter_mut().for_each(|ready| ready.watch.begin("commit"));
        let mut publications: Vec<Publication> = ready.iter_mut().map(Ready::publication).collect();
        publications.extend(leaving.iter().map(|leaving| (Arc::clone(&leaving.name), Vec::new())));
        let mut book = self.records.open_book().await;
        let names = publications.iter().map(|(_, functions)| names(functions)).collect::<Vec<_>>();
        let refused = match self.table.check(&publications) {
            Err(source) => Some(publish_error(&publications, source)),
            Ok(()) if record => {
                let staged = ready.iter().map(|ready| Arc::clone(&ready.generation.staged)).collect();
                let records: Vec<(String, PluginRecord)> =
                    ready.iter().map(|ready| self.record(ready)).collect();
                let plugin: Arc<str> = records.first().map_or("", |(plugin, _)| plugin).into();
                let written = book.write(staged, |plugins| plugins.extend(records)).await;
                written.err().map(|source| PluginError::Record {
                    plugin,
                    step: "commit",
                    source: source.into(),
                })
            }
            Ok(()) => None,
        };
        if let Some(error) = refused {
            drop((book, publications));
            join_all(ready.into_iter().map(|ready| self.discard(ready))).await;
            return Err(error);
        }
        ready.iter_mut().for_each(|ready| ready.watch.begin("publish"));
        if let Err(source) = self.table.publish(publications) {
            // Nobody else publishes while the record is open, and the names were free a moment ago.
            return Err(PluginError::Publish { plugin: Arc::clone(&source.owner), source });
        }
        also();
        let published_at = SystemTime::now();
        let new = ready.into_iter().zip(names);
        let new: Vec<_> = new.map(|(ready, names)| self.install(ready, names, published_at)).collect();
        let gone = leaving.into_iter().filter_map(|Leaving { turn, name, watch }| {
            let old = turn.entry.state().published.take()?;
            Some(Outgoing { turn, plugin: name, new: None, old: Some(old), watch })
        });
        let outgoing: Vec<Outgoing> = new.into_iter().chain(gone).collect();
        drop(book);
        self.tell_change();
        Ok(join_all(outgoing.into_iter().map(|outgoing| self.finish(outgoing))).await)
    }

    /// What will be on disk of a plugin.
    fn record(&self, ready: &Ready) -> (String, PluginRecord) {
        let most = self.settings().keep_generations;
        let record = ready.turn.entry.state().record_with(&ready.generation, ready.seen.clone(), most);
        (ready.generation.plugin.to_string(), record)
    }

    /// Makes a generation, whose functions are in the table, the one that serves.
    fn install(
        &self,
        ready: Ready,
        functions: Vec<crate::base::FunctionName>,
        published_at: SystemTime,
    ) -> Outgoing {
        let Ready { turn, generation, config, path, seen, watch, lease, .. } = ready;
        let (plugin, file) = (Arc::clone(&generation.plugin), generation.staged.file.clone());
        let (number, sha256) = (generation.number, generation.staged.sha256.clone());
        let version = &*generation.description.version;
        tracing::info!(plugin = &*plugin, generation = number, version, file, "published");
        self.failures.forget(&file);
        self.failures.forget(&plugin);
        let new = Published { generation, functions, config, lease };
        let old = turn.entry.install(new, path, seen, published_at);
        Outgoing { turn, plugin, new: Some((number, sha256)), old, watch }
    }

    async fn finish(&self, outgoing: Outgoing) -> Change {
        let Outgoing { turn, plugin, new, old, mut watch } = outgoing;
        let previous = old.as_ref().map(|old| old.generation.number);
        let cancelled_calls = match old {
            Some(old) => self.retire(&turn.entry, old, self.settings().drain_timeout, &mut watch).await,
            None => 0,
        };
        let (generation, sha256) = new.unzip();
        let steps = watch.steps();
        drop(turn.held);
        Change { plugin: plugin.to_string(), generation, previous, sha256, steps, cancelled_calls }
    }

    /// Stops a generation that was started and will not be published.
    pub(crate) async fn discard(&self, ready: Ready) {
        let Ready { turn, generation, functions, lease, .. } = ready;
        generation.begin_retirement();
        drop((functions, lease));
        self.end(&turn.entry, &generation).await;
    }
}

/// A published generation and the one that it replaced.
struct Outgoing {
    turn: Turn,
    plugin: Arc<str>,
    /// Number and digest.
    new: Option<(u64, String)>,
    old: Option<Published>,
    watch: Stopwatch,
}

impl Ready {
    /// The plugin.
    pub(crate) fn plugin(&self) -> &Arc<str> {
        &self.generation.plugin
    }

    /// What its code changed of the process, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.generation.warnings()
    }

    fn publication(&mut self) -> Publication {
        (Arc::clone(&self.generation.plugin), std::mem::take(&mut self.functions))
    }
}

fn names(functions: &[Function]) -> Vec<crate::base::FunctionName> {
    functions.iter().map(|function| function.name.clone()).collect()
}

/// Names the plugin that wanted the name, not the one that has it.
fn publish_error(publications: &[Publication], source: crate::functions::NameTaken) -> PluginError {
    let wants = |(plugin, functions): &&Publication| {
        *plugin != source.owner && functions.iter().any(|function| function.name == source.name)
    };
    let plugin = publications.iter().find(wants).map_or_else(|| "".into(), |(plugin, _)| Arc::clone(plugin));
    PluginError::Publish { plugin, source }
}
