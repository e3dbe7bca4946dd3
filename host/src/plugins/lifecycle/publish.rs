//! Publishing what has started, in one swap, alone or together with others. Before the swap everything can be undone;
//! after it nothing fails any more.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::join_all;

use super::start::{Ready, StartRequest};
use super::{ChangeLock, Lifecycle};
use crate::api::ChangeView;
use crate::base::{Digest, FunctionName};
use crate::functions::{Function, NameTaken, Publication};
use crate::plugins::error::PluginError;
use crate::plugins::file::candidate::Candidate;
use crate::plugins::registry::entry::Published;
use crate::plugins::registry::failures::Failed;
use crate::plugins::registry::record::PluginRecord;
use crate::plugins::registry::stopwatch::Stopwatch;
use crate::plugins::step::LifecycleStep;

/// A plugin that is to be gone.
pub(crate) struct Withdrawal {
    pub(crate) lock: ChangeLock,
    pub(crate) name: Arc<str>,
    pub(crate) watch: Stopwatch,
}

impl Lifecycle {
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
        leaving: Vec<Withdrawal>,
        record: bool,
        also: impl FnOnce(),
    ) -> Result<Vec<ChangeView>, PluginError> {
        ready.iter_mut().for_each(|ready| ready.watch.begin(LifecycleStep::Commit));
        let take =
            |ready: &mut Ready| (Arc::clone(&ready.generation.plugin), std::mem::take(&mut ready.functions));
        let mut publications: Vec<Publication> = ready.iter_mut().map(take).collect();
        publications.extend(leaving.iter().map(|leaving| (Arc::clone(&leaving.name), Vec::new())));
        let mut book = self.records.open_book().await;
        let names = publications.iter().map(|(_, functions)| names(functions)).collect::<Vec<_>>();
        let refused = match self.table.check(&publications) {
            Err(taken) => Some(publish_error(&publications, taken)),
            Ok(()) if record => {
                let staged = ready.iter().map(|ready| Arc::clone(&ready.generation.staged)).collect();
                let records: Vec<(String, PluginRecord)> =
                    ready.iter().map(|ready| self.record(ready)).collect();
                let plugin: Arc<str> = records.first().map_or("", |(plugin, _)| plugin).into();
                let written = book.write(staged, |plugins| plugins.extend(records)).await;
                written.err().map(|error| PluginError::Record {
                    plugin,
                    step: LifecycleStep::Commit,
                    cause: error.into(),
                })
            }
            Ok(()) => None,
        };
        if let Some(error) = refused {
            drop((book, publications));
            join_all(ready.into_iter().map(|ready| self.stop_unpublished(ready))).await;
            return Err(error);
        }
        ready.iter_mut().for_each(|ready| ready.watch.begin(LifecycleStep::Publish));
        if let Err(cause) = self.table.publish(publications) {
            // Cannot happen: all publishing waits for the record, and the names were free a moment ago.
            return Err(PluginError::Publish { plugin: Arc::clone(&cause.owner), cause });
        }
        also();
        let published_at = SystemTime::now();
        let new = ready.into_iter().zip(names);
        let new: Vec<_> = new.map(|(ready, names)| self.install(ready, names, published_at)).collect();
        let gone = leaving.into_iter().filter_map(|Withdrawal { lock, name, watch }| {
            let old = lock.entry.state().published.take()?;
            Some(Replacement { lock, plugin: name, new: None, old: Some(old), watch })
        });
        let outgoing: Vec<Replacement> = new.into_iter().chain(gone).collect();
        drop(book);
        self.tell_change();
        Ok(join_all(outgoing.into_iter().map(|outgoing| self.finish(outgoing))).await)
    }

    /// Returns the record of a plugin once `ready` is published.
    fn record(&self, ready: &Ready) -> (String, PluginRecord) {
        let most = self.config().reload.keep_generations;
        let record = ready.lock.entry.state().record_with(&ready.generation, ready.file_digest, most);
        (ready.generation.plugin.to_string(), record)
    }

    /// Makes a generation, whose functions are in the table, the one that serves.
    fn install(&self, ready: Ready, functions: Vec<FunctionName>, published_at: SystemTime) -> Replacement {
        let Ready { lock, generation, settings, path, file_digest, watch, lease, .. } = ready;
        let (plugin, file) = (Arc::clone(&generation.plugin), generation.staged.file.clone());
        let (number, sha256) = (generation.number, generation.staged.sha256);
        let version = &*generation.description.version;
        tracing::info!(plugin = &*plugin, generation = number, version, file, "published");
        self.failures.forget(&file);
        self.failures.forget(&plugin);
        let new = Published { generation, functions, settings, lease };
        let old = lock.entry.install(new, path, file_digest, published_at);
        Replacement { lock, plugin, new: Some((number, sha256.to_string())), old, watch }
    }

    async fn finish(&self, outgoing: Replacement) -> ChangeView {
        let Replacement { lock, plugin, new, old, mut watch } = outgoing;
        let previous = old.as_ref().map(|old| old.generation.number);
        let cancelled_calls = match old {
            Some(old) => self.retire(&lock.entry, old, self.config().reload.drain_timeout, &mut watch).await,
            None => 0,
        };
        let (generation, sha256) = new.unzip();
        let steps = watch.steps();
        drop(lock.held);
        ChangeView { plugin: plugin.to_string(), generation, previous, sha256, steps, cancelled_calls }
    }

    /// Starts and publishes the build of an operator's file.
    pub(crate) async fn bring_up(
        &self,
        lock: ChangeLock,
        candidate: Candidate,
        watch: Stopwatch,
        allow_breaking: bool,
    ) -> Result<ChangeView, PluginError> {
        let (entry, name) = (Arc::clone(&lock.entry), candidate.name().to_owned());
        let sha256 = candidate.staged.sha256;
        let brought_up = self.replace(lock, candidate, Some(sha256), allow_breaking, watch).await;
        if let Err(error) = &brought_up {
            self.note_refused(&entry, &name, sha256, error).await;
            self.failures.note(Failed::of_plugin(&name, error.clone(), Some(sha256)));
        }
        brought_up
    }

    /// Starts a candidate that stands for the operator's file with this digest, and publishes it.
    pub(crate) async fn replace(
        &self,
        lock: ChangeLock,
        candidate: Candidate,
        file_digest: Option<Digest>,
        allow_breaking: bool,
        watch: Stopwatch,
    ) -> Result<ChangeView, PluginError> {
        let plugin = candidate.name().to_owned();
        let config = self.config();
        let request = StartRequest { config, generation: None, file_digest, allow_breaking, must_note: true };
        let ready = self.make_ready(lock, candidate, request, watch).await?;
        only(self.publish(vec![ready], Vec::new(), true, || ()).await?, &plugin)
    }
}

/// A published generation and the one that it replaced.
struct Replacement {
    lock: ChangeLock,
    plugin: Arc<str>,
    /// Number and digest.
    new: Option<(u64, String)>,
    old: Option<Published>,
    watch: Stopwatch,
}

fn names(functions: &[Function]) -> Vec<FunctionName> {
    functions.iter().map(|function| function.name.clone()).collect()
}

/// Names the plugin that wanted the name, not the one that has it.
fn publish_error(publications: &[Publication], cause: NameTaken) -> PluginError {
    let wants = |(plugin, functions): &&Publication| {
        *plugin != cause.owner && functions.iter().any(|function| function.name == cause.name)
    };
    let plugin = publications.iter().find(wants).map_or_else(|| "".into(), |(plugin, _)| Arc::clone(plugin));
    PluginError::Publish { plugin, cause }
}

/// The one change that was asked for.
pub(crate) fn only(changes: Vec<ChangeView>, plugin: &str) -> Result<ChangeView, PluginError> {
    changes.into_iter().next().ok_or_else(|| PluginError::NotPublished(plugin.to_owned()))
}
