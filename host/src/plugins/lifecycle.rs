//! The life of one generation: started out of sight, published, drained, stopped and unmapped.

mod compatibility;
pub(super) mod publish;
mod retire;
pub(super) mod start;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::OwnedMutexGuard;

use crate::base::{Digest, Tasks};
use crate::config::Config;
use crate::functions::Table;
use crate::plugins::error::PluginError;
use crate::plugins::registry::Registry;
use crate::plugins::registry::entry::Entry;
use crate::plugins::registry::failures::Failures;
use crate::plugins::registry::record::{PluginRecord, Records};
use crate::plugins::registry::tries::Tries;
use crate::plugins::services::Services;

/// In how many lives of the host in a row a build that has served may end it while it is loaded, before it is left out:
/// one end may have another cause.
const ENDS_OF_PROVEN_MAX: u32 = 2;

/// Changes one plugin at a time, with all that this needs of the host.
pub(crate) struct Lifecycle {
    pub(crate) services: Arc<Services>,
    pub(crate) table: Arc<Table>,
    pub(crate) registry: Registry,
    pub(crate) records: Records,
    pub(crate) tries: Tries,
    pub(crate) failures: Failures,
    pub(crate) config: ArcSwap<Config>,
    pub(crate) on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
    pub(crate) stopping: AtomicBool,
    /// The tasks that wait for abandoned generations.
    pub(crate) abandoned: Tasks,
}

/// The right to change a plugin.
pub(crate) struct ChangeLock {
    pub(crate) entry: Arc<Entry>,
    pub(crate) held: OwnedMutexGuard<()>,
}

impl Lifecycle {
    /// Returns the config in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    fn tell_change(&self) {
        self.on_change.get().into_iter().for_each(|tell| tell());
    }

    /// Returns true once the host is being stopped.
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Waits until no other change of the plugin is under way.
    ///
    /// # Errors
    /// That the host is stopping.
    pub(crate) async fn lock(&self, entry: &Arc<Entry>) -> Result<ChangeLock, PluginError> {
        let held = Arc::clone(&entry.change_lock).lock_owned().await;
        if self.is_stopping() {
            Err(PluginError::Stopping)
        } else {
            Ok(ChangeLock { entry: Arc::clone(entry), held })
        }
    }

    /// Returns true for a build that is taken to end the host.
    pub(crate) fn is_left_out(&self, sha256: Digest) -> bool {
        let ends = self.tries.ended(sha256);
        ends > 0 && (ends >= ENDS_OF_PROVEN_MAX || !self.registry.has_served(sha256))
    }

    /// Records that a build was refused: neither the next start nor the watcher tries it again, as long as there is one
    /// that serves.
    pub(crate) async fn note_refused(
        &self,
        entry: &Entry,
        plugin: &str,
        sha256: Digest,
        error: &PluginError,
    ) {
        let refused = Some(sha256);
        if error.is_of_this_process() || entry.state().file_digest == refused {
            return;
        }
        entry.state().refused_digest.clone_from(&refused);
        let change = |plugins: &mut BTreeMap<String, PluginRecord>| {
            let served = plugins.get_mut(plugin).filter(|record| record.committed.is_some());
            if let Some(record) = served.filter(|record| record.file_digest != refused) {
                record.refused_digest = refused;
            }
        };
        if let Err(error) = self.records.open_book().await.write(Vec::new(), change).await {
            tracing::warn!(
                plugin,
                "the state directory cannot be written to: {error}; the next start tries this build again"
            );
        }
    }
}
