//! Reload of the whole host: the config and the plugin directory are read again, and all that is different comes into
//! force in one go, or nothing does.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::build;
use super::live::Live;
use super::supervisor::Reloading;
use super::watch::Watched;
use crate::base::{Mutex, MutexGuard, Tasks, milliseconds};
use crate::config::{Config, ConfigError};
use crate::http::admin::{HostChange, HostRefusal, ReloadHost, Token};
use crate::http::{Door, Tls};
use crate::peers::Discovered;
use crate::plugins::{Asker, PluginError, Plugins, Prepared};

/// Reads the config once more, from where it was read at the start.
pub type Reread = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// The parts of a running host that a reload replaces something in.
pub(super) struct Host {
    reread: Arc<Reread>,
    door: Arc<Door>,
    plugins: Arc<Plugins>,
    swaps: Swaps,
    client_tasks: Tasks,
    /// Held for the length of a reload: one after the other.
    reloading: tokio::sync::Mutex<()>,
    /// Not held while a reload prepares: what is found meanwhile comes into force at once, and stays.
    live: Mutex<Live>,
    watched: watch::Sender<Watched>,
    shutdown_delay_ms: AtomicU64,
    drain_timeout_ms: AtomicU64,
}

/// What listeners look up whenever they need it.
pub(super) struct Swaps {
    /// The token of the admin API over TCP, if that listens.
    pub(super) admin_token: Option<Token>,
    /// The certificate of the public listener, if that speaks TLS.
    pub(super) tls: Option<Tls>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    pub(super) fn new(
        reread: Reread,
        door: &Arc<Door>,
        live: Live,
        swaps: Swaps,
        client_tasks: Tasks,
    ) -> Self {
        let (watched, _) = watch::channel(Watched::of(&live.config));
        let shutdown_delay_ms = AtomicU64::new(milliseconds(live.config.server.shutdown_delay));
        let drain_timeout_ms = AtomicU64::new(milliseconds(live.config.server.drain_timeout));
        let (reread, live) = (Arc::new(reread), Mutex::new(live));
        let (plugins, door) = (Arc::clone(&door.plugins), Arc::clone(door));
        let reloading = tokio::sync::Mutex::default();
        Self {
            reread,
            door,
            plugins,
            swaps,
            client_tasks,
            reloading,
            live,
            watched,
            shutdown_delay_ms,
            drain_timeout_ms,
        }
    }

    /// Puts into force what was found behind a URL of the config.
    pub(super) fn take(&self, discovered: Discovered) {
        let mut live = self.live();
        if !live.take(discovered) {
            return;
        }
        self.door.router.set_routes(live.routes());
        live.watch_peers(&self.client_tasks);
        drop(live);
        // Where the plugins' own functions run may be another place now.
        self.door.router.tell_routes();
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock()
    }

    /// What is to be watched, now and later.
    pub(super) fn watched(&self) -> watch::Receiver<Watched> {
        self.watched.subscribe()
    }

    /// How long the host serves on after it was told to stop.
    pub(super) fn shutdown_delay(&self) -> Duration {
        Duration::from_millis(self.shutdown_delay_ms.load(Ordering::Relaxed))
    }

    /// How long calls may go on after that.
    pub(super) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms.load(Ordering::Relaxed))
    }

    /// Brings everything that has changed into force, or nothing.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(super) async fn reload(&self, allow_breaking: bool, asker: Asker) -> Result<HostChange, HostRefusal> {
        let _one_by_one = self.reloading.lock().await;
        let _told = Reloading::begin();
        // Before they are read: what is written meanwhile is not in force.
        let files = self.door.in_force.files_now();
        let reloaded = self.reload_once(allow_breaking, asker).await;
        match &reloaded {
            Ok(change) => {
                let files = files.with(self.live().config.files());
                self.door.in_force.taken(files, change.restart_required.clone());
            }
            Err(refused) => self.door.in_force.refused(&refused.detail),
        }
        reloaded
    }

    async fn reload_once(&self, allow_breaking: bool, asker: Asker) -> Result<HostChange, HostRefusal> {
        let reread = Arc::clone(&self.reread);
        let read = tokio::task::spawn_blocking(move || (*reread)()).await;
        let mut config = match read {
            Ok(Ok(config)) => config,
            Ok(Err(error)) => return Err(of_config(error.to_string())),
            Err(_) => return Err(of_config("the thread that read the config died".to_owned())),
        };
        let mut warnings = config.warnings();
        let (restart_required, lasting, discovered) = {
            let live = self.live();
            (config.keep_until_restart(&live.config), live.lasting(), live.discovered())
        };
        let next = Live::make(config, lasting, &self.client_tasks, discovered).await;
        let mut next = next.map_err(|error| of_config(error.to_string()))?;
        let policy = next.policy().map_err(|error| of_config(error.to_string()))?;
        let config = &next.config;
        let prepared = self
            .plugins
            .prepare(build::settings(config), config.load_plugins.as_deref(), allow_breaking, asker)
            .await
            .map_err(of_plugins)?;
        let Prepared { unchanged, without_file, warnings: of_files, .. } = &prepared;
        let (unchanged, of_files) = (unchanged.clone(), of_files.clone());
        warnings.extend(without_file.iter().map(|plugin| {
            format!("the file of plugin `{plugin}` is gone; it serves until it is unloaded, or the host is reloaded by an operator")
        }));
        let bring_into_force = move || {
            // Only now: what was found while plugins started is taken over as well.
            let mut live = self.live();
            next.take_over(&live);
            let config = &next.config;
            self.door.router.set_routes(next.routes());
            self.door.router.repeats().set_bounds(next.repeats());
            self.door.router.set_answer_bytes_max(config.server.answer_bytes_max);
            self.door.policy.store(Arc::new(policy));
            next.limit_admission();
            self.door
                .router
                .table()
                .set_limits(config.limits.clone(), config.server.in_flight_per_function_max);
            self.plugins.set_call_timeout(config.server.call_timeout);
            self.plugins.set_layer_percent(config.server.layer_percent);
            // The same certificate stays, and with it what clients know to resume their sessions.
            if let (Some(tls), Some(now)) = (&self.swaps.tls, &config.server_tls)
                && live.config.server_tls.as_ref() != Some(now)
            {
                tls.replace(now);
            }
            if let (Some(token), Some(tcp)) = (&self.swaps.admin_token, &config.admin_tcp) {
                token.store(Arc::new(tcp.token.clone()));
            }
            self.shutdown_delay_ms.store(milliseconds(config.server.shutdown_delay), Ordering::Relaxed);
            self.drain_timeout_ms.store(milliseconds(config.server.drain_timeout), Ordering::Relaxed);
            let watched = Watched::of(config);
            // Watched anew only if it is something else: what changes in between would not be seen.
            self.watched.send_if_modified(|now| {
                let differs = *now != watched;
                *now = watched;
                differs
            });
            next.watch_peers(&self.client_tasks);
            *live = next;
        };
        let published = self.plugins.publish_prepared(prepared, bring_into_force).await;
        let plugins = published.map_err(|error| of_plugins(vec![(String::new(), error)]))?;
        for key in &restart_required {
            warnings.push(format!(
                "`{key}` was changed, and keeps its old value until the host is started again"
            ));
        }
        warnings.extend(self.live().config.warnings_of_names(&build::known(&self.plugins, Vec::new())));
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        warnings.extend(of_files);
        tracing::info!(changed_plugins = plugins.len(), "reloaded");
        Ok(HostChange { plugins, unchanged, restart_required, warnings })
    }
}

impl ReloadHost for Host {
    fn reload<'a>(
        &'a self,
        allow_breaking: bool,
    ) -> Pin<Box<dyn Future<Output = Result<HostChange, HostRefusal>> + Send + 'a>> {
        Box::pin(self.reload(allow_breaking, Asker::Operator))
    }
}

fn of_config(detail: String) -> HostRefusal {
    HostRefusal { step: "config", detail, plugins: Vec::new() }
}

fn of_plugins(failed: Vec<(String, PluginError)>) -> HostRefusal {
    let step = failed.first().map_or("stage", |(_, error)| error.step());
    let sentences: Vec<String> = failed.iter().map(|(_, error)| error.to_string()).collect();
    let plugins = failed.into_iter().map(|(what, error)| (what, error.step(), error.to_string())).collect();
    HostRefusal { step, detail: sentences.join("; "), plugins }
}
