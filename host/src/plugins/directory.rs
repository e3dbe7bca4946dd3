//! The plugins of this host, and the directory that they come from.

mod change;
mod look;
pub(super) mod reload;
pub(super) mod startup;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::native;
use crate::api::{FailedPlugin, PluginView};
use crate::base::{FunctionName, Tasks};
use crate::config::Config;
use crate::files::DirFault;
use crate::functions::Table;
use crate::plugins::file::plugin_files::PluginFiles;
use crate::plugins::file::stage::Stager;
use crate::plugins::lifecycle::Lifecycle;
use crate::plugins::process::maps::Maps;
use crate::plugins::registry::Registry;
use crate::plugins::registry::entry::Entry;
use crate::plugins::registry::failures::Failures;
use crate::plugins::registry::record::Records;
use crate::plugins::registry::tries::Tries;
use crate::plugins::services::Services;

/// The plugins of this host.
pub struct Plugins {
    lifecycle: Lifecycle,
    files: PluginFiles,
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugins").finish_non_exhaustive()
    }
}

impl Plugins {
    /// Opens the state of plugins, without loading any. Only this process uses `folder`, for staged copies and the record
    /// of what serves.
    ///
    /// # Errors
    /// [`DirFault`] if another user may have written to the folder, or the system refuses it.
    pub fn open(
        services: Arc<Services>,
        table: Arc<Table>,
        folder: &Path,
        config: Arc<Config>,
    ) -> Result<Self, DirFault> {
        native::prepare();
        let mut records = Records::read(folder)?;
        let (staged, recorded) = records.copies();
        let files = PluginFiles { stager: Arc::new(Stager::new(staged, recorded)?), on_disk: Arc::default() };
        let lifecycle = Lifecycle {
            services,
            table,
            registry: Registry::default(),
            records,
            tries: Tries::read(folder)?,
            failures: Failures::default(),
            config: ArcSwap::new(config),
            on_change: OnceLock::new(),
            stopping: AtomicBool::new(false),
            abandoned: Tasks::default(),
        };
        Ok(Self { lifecycle, files })
    }

    /// Sets the callback for changes of the published functions. The first one stays.
    pub fn on_change(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.lifecycle.on_change.get_or_init(|| Box::new(tell));
    }

    /// Tells every plugin which of its own functions run here.
    pub fn write_routes(&self, runs_here: &dyn Fn(&FunctionName) -> bool) {
        self.lifecycle.registry.for_each_published(|generation| generation.routes.write(runs_here));
    }

    /// Returns the plugins that were ever published, by name, without a look at their files.
    pub fn loaded(&self) -> Vec<PluginView> {
        self.lifecycle.registry.all().iter().filter_map(|(name, entry)| entry.status(name)).collect()
    }

    /// Returns the plugins that were ever published, by name. Looks at the times of their files, and reads none. Blocks on
    /// the disk.
    pub fn statuses(&self) -> Vec<PluginView> {
        let status = |(name, entry): &(String, Arc<Entry>)| {
            let mut status = entry.status(name)?;
            status.differs_from_file = self.difference(name, entry);
            Some(status)
        };
        self.lifecycle.registry.all().iter().filter_map(status).collect()
    }

    /// Reads the files whose times alone may be new, so that the next [`Plugins::statuses`] is exact.
    pub async fn look_again(&self) {
        let entries = self.lifecycle.registry.all();
        let paths: Vec<PathBuf> =
            entries.iter().filter_map(|(_, entry)| entry.state().path.clone()).collect();
        self.files.refresh(paths).await;
    }

    /// Returns the files and plugins that are not served, by name. Blocks on the disk.
    pub fn failures(&self) -> Vec<FailedPlugin> {
        self.lifecycle.failures.all()
    }

    /// Notes that the host ends on request, so the builds that are being loaded are not to blame.
    pub async fn forgive_tries(&self) {
        self.lifecycle.tries.forgive().await;
    }

    /// Returns the number of libraries that are mapped without serving, and the number above which `ready` warns.
    pub fn zombies(&self) -> (usize, usize) {
        let (maps, all) = (Maps::read(), self.lifecycle.registry.all());
        let zombies = all.iter().map(|(_, entry)| entry.state().zombies(&maps).len()).sum();
        (zombies, self.lifecycle.config().reload.zombies_max)
    }

    /// Returns the services that the plugins share.
    pub fn services(&self) -> &Services {
        &self.lifecycle.services
    }

    /// Drops the calls that have suspended in any plugin; their callers are told that they ran.
    pub fn cancel_calls(&self) {
        self.lifecycle.registry.for_each_published(|generation| generation.leases.cancel_calls());
    }

    /// Stops all plugins: no new calls, then `on_stop` of each once its last call has ended.
    ///
    /// A plugin that does not drain in time is left as it is: its code may still be in use.
    pub async fn stop(&self, drain_timeout: Duration) {
        self.lifecycle.stop_all(drain_timeout).await;
    }
}
