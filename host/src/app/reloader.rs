//! Reloads the whole host: reads the config and the plugin directory again, and brings all changes into force at once,
//! or none.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use super::active::ActiveConfig;
use super::parts::Parts;
use super::plugin_setup;
use super::supervisor::Reloading;
use super::watched_paths::WatchedPaths;
use crate::api::{FailedPlugin, ReloadView};
use crate::base::{Mutex, Tasks};
use crate::config::{Config, ConfigError};
use crate::http::admin::{HostRefusal, ReloadHost};
use crate::http::{Policy, Service};
use crate::peers::Discovered;
use crate::plugins::{Asker, Failed, LifecycleStep, Plugins, Prepared};

/// Reads the config again from its original sources.
pub type Reread = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Brings configs into force: the first one at the start, and others when a reload is asked for.
pub(super) struct Reloader {
    reread: Arc<Reread>,
    parts: Parts,
    /// Held for the length of a reload, so that reloads run one after the other.
    reloading: tokio::sync::Mutex<()>,
    /// Not held while a reload prepares, so that peers that are found meanwhile come into force at once, and stay.
    active: Mutex<ActiveConfig>,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

impl Reloader {
    /// Brings the first config into force.
    pub(super) fn start(reread: Reread, parts: Parts, mut first: ActiveConfig, policy: Arc<Policy>) -> Self {
        parts.apply(&mut first, policy, None);
        let (reread, reloading) = (Arc::new(reread), tokio::sync::Mutex::default());
        Self { reread, parts, reloading, active: Mutex::new(first) }
    }

    /// The public listener's state.
    pub(super) fn service(&self) -> &Arc<Service> {
        &self.parts.service
    }

    /// The plugins.
    pub(super) fn plugins(&self) -> &Arc<Plugins> {
        &self.parts.service.plugins
    }

    /// The config in force.
    pub(super) fn config(&self) -> Config {
        self.active.lock().config.clone()
    }

    /// The owner of the connections to peers, which calls in flight need until the end.
    pub(super) fn client_tasks(&self) -> Tasks {
        self.active.lock().carryover.client_tasks.clone()
    }

    /// Brings into force what was found behind a URL of the config.
    pub(super) fn take(&self, discovered: Discovered) {
        let mut active = self.active.lock();
        if !active.take(discovered) {
            return;
        }
        self.service().router.set_routes(active.routes());
        active.start_peers();
        drop(active);
        // The plugins' own functions may run elsewhere now.
        self.service().router.tell_routes();
    }

    /// The files to watch, now and later.
    pub(super) fn watched(&self) -> watch::Receiver<WatchedPaths> {
        self.parts.watched.subscribe()
    }

    /// Brings all changes into force, or none.
    ///
    /// # Errors
    /// All problems.
    pub(super) async fn reload(&self, allow_breaking: bool, asker: Asker) -> Result<ReloadView, HostRefusal> {
        let _one_by_one = self.reloading.lock().await;
        let _told = Reloading::begin();
        // Before the files are read: what is written meanwhile is not in force.
        let files = self.service().in_force.files_now();
        let reloaded = self.reload_once(allow_breaking, asker).await;
        match &reloaded {
            Ok(change) => {
                let files = files.with(self.active.lock().config.files());
                self.service().in_force.taken(files, change.restart_required.clone());
            }
            Err(HostRefusal { step, detail, .. }) => {
                self.service().in_force.refused(detail, *step == OF_CONFIG);
            }
        }
        reloaded
    }

    async fn reload_once(&self, allow_breaking: bool, asker: Asker) -> Result<ReloadView, HostRefusal> {
        let reread = Arc::clone(&self.reread);
        let read = tokio::task::spawn_blocking(move || (*reread)()).await;
        let mut config = match read {
            Ok(Ok(config)) => config,
            Ok(Err(error)) => return Err(of_config(error.to_string())),
            Err(_) => return Err(of_config("the thread that read the config died".to_owned())),
        };
        let mut warnings = config.warnings();
        let (restart_required, keys, carryover) = {
            let active = self.active.lock();
            (config.keep_until_restart(&active.config), active.keys(), active.carryover.clone())
        };
        let next = ActiveConfig::prepare(config, keys, carryover).await;
        let mut next = next.map_err(|error| of_config(error.to_string()))?;
        let policy = next.policy().map(Arc::new).map_err(|error| of_config(error.to_string()))?;
        let prepared = self
            .plugins()
            .prepare(Arc::new(next.config.clone()), allow_breaking, asker)
            .await
            .map_err(of_plugins)?;
        let Prepared { unchanged, without_file, warnings: of_files, .. } = &prepared;
        let (unchanged, of_files) = (unchanged.clone(), of_files.clone());
        warnings.extend(without_file.iter().map(|plugin| {
            format!("the file of plugin `{plugin}` is gone; it serves until it is unloaded, or the host is reloaded by an operator")
        }));
        let bring_into_force = move || {
            // Only now, to keep what was found while plugins started.
            let mut active = self.active.lock();
            self.parts.apply(&mut next, policy, Some(&active));
            *active = next;
        };
        let published = self.plugins().publish_prepared(prepared, bring_into_force).await;
        let plugins = published.map_err(|error| of_plugins(vec![Failed::of_all(error)]))?;
        for key in &restart_required {
            warnings.push(format!(
                "`{key}` was changed, and keeps its old value until the host is started again"
            ));
        }
        warnings.extend(
            self.active.lock().config.warnings_of_names(&plugin_setup::known(self.plugins(), Vec::new())),
        );
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        warnings.extend(of_files);
        tracing::info!(changed_plugins = plugins.len(), "reloaded");
        let restart_required = restart_required.into_iter().map(str::to_owned).collect();
        Ok(ReloadView { plugins, unchanged, restart_required, warnings })
    }
}

impl ReloadHost for Reloader {
    fn reload<'a>(
        &'a self,
        allow_breaking: bool,
    ) -> Pin<Box<dyn Future<Output = Result<ReloadView, HostRefusal>> + Send + 'a>> {
        Box::pin(self.reload(allow_breaking, Asker::Operator))
    }
}

/// The step of a reload whose config is refused.
const OF_CONFIG: &str = "config";

fn of_config(detail: String) -> HostRefusal {
    HostRefusal { step: OF_CONFIG, detail, plugins: Vec::new() }
}

fn of_plugins(failed: Vec<Failed>) -> HostRefusal {
    let step = failed.first().map_or(LifecycleStep::Stage, |failed| failed.error.step()).as_str();
    let sentences: Vec<String> = failed.iter().map(|failed| failed.error.to_string()).collect();
    let plugins =
        failed.into_iter().zip(&sentences).map(|(Failed { what, error, .. }, reason)| FailedPlugin {
            plugin: what,
            step: Some(error.step().as_str().to_owned()),
            reason: Some(reason.clone()),
            since: None,
        });
    let plugins = plugins.collect();
    HostRefusal { step, detail: sentences.join("; "), plugins }
}
