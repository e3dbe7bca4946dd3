//! The start of a daemon: builds its parts from a config, and loads the plugins.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use super::active::{ActiveConfig, Carryover};
use super::discovery::Findings;
use super::listeners::Listeners;
use super::parts::Parts;
use super::plugin_setup::{known, open};
use super::reloader::Reloader;
use super::watched_paths::WatchedPaths;
use super::{AppError, Reread, StateDir, clock, predecessors};
use crate::base::{FunctionName, Identity, InstanceId, Tasks};
use crate::config::Config;
use crate::functions::{Handler, Table};
use crate::http::{BodyMemory, ConfigFiles, Documents, Ending, InForce, Service, admin};
use crate::plugins::{Failed, LoadReport, Plugins};
use crate::router::{Router, Target};
use crate::wire::ReplayGuard;

/// The capacity of the channel for results of discovery.
const FINDINGS: usize = 16;

/// Builds the parts and brings the config into force. No plugin is loaded yet.
pub(super) async fn build(
    config: Config,
    reread: Reread,
    state_dir: &StateDir,
    listeners: &Listeners,
) -> Result<(Arc<Reloader>, Findings), AppError> {
    let clock = clock::start(state_dir.lock_file());
    let files = ConfigFiles::look(config.files());
    let (discovered, findings) = mpsc::channel(FINDINGS);
    let carryover = Carryover {
        identity: Arc::new(identity(&config, state_dir)),
        admission: Arc::default(),
        client_tasks: Tasks::default(),
        discovered,
    };
    let active = ActiveConfig::prepare(config, Arc::default(), carryover).await?;
    let config = &active.config;
    let table = Arc::new(Table::default());
    let router = Router::new(Arc::clone(&active.carryover.identity), Arc::clone(&table), active.routes());
    let dispatch: Arc<dyn Handler> = Arc::<Router>::clone(&router);
    let plugins = open(config, state_dir.path(), table, &dispatch)
        .map_err(|fault| AppError::state(&config.state_dir, fault))?;
    let policy = Arc::new(active.policy()?);
    let service = Service {
        router,
        plugins,
        replays: ReplayGuard::new(
            ReplayGuard::WINDOW_DEFAULT,
            ReplayGuard::IDS_MAX_DEFAULT,
            clock.started_at_ms(),
        ),
        policy: ArcSwap::new(Arc::clone(&policy)),
        clock,
        meters: Arc::default(),
        body_memory: BodyMemory::new(config.server.body_memory_max),
        documents: Documents::default(),
        ending: Ending::default(),
        in_force: InForce::new(files),
    };
    let parts = Parts {
        service: Arc::new(service),
        admin_token: listeners.admin_tcp.as_ref().map(admin::Tcp::token),
        tls: listeners.tls.clone(),
        watched: watch::channel(WatchedPaths::of(config)).0,
    };
    Ok((Arc::new(Reloader::start(reread, parts, active, policy)), findings))
}

/// Loads the plugins of the config in force, while peers already answer.
pub(super) async fn load_plugins(reloader: &Reloader) -> Result<(), AppError> {
    let (config, plugins, router) = (reloader.config(), reloader.plugins(), &reloader.service().router);
    let report = plugins.load_directory().await.map_err(AppError::Plugin)?;
    let failed = report.failed.iter().map(|failed| failed.what.clone()).collect();
    if let Err(error) = report_load(&config, report) {
        plugins.stop(config.reload.drain_timeout).await;
        return Err(error);
    }
    for warning in config.warnings_of_names(&known(plugins, failed)) {
        tracing::warn!("{warning}");
    }
    write_routes(router, plugins);
    keep_routes(router, plugins);
    Ok(())
}

/// Logs the failures of loading.
///
/// # Errors
/// The first plugin that the config requires and that failed.
fn report_load(config: &Config, report: LoadReport) -> Result<(), AppError> {
    let required = config.load_plugins.as_deref().unwrap_or_default();
    let mut missed = None;
    for Failed { what, error, .. } in report.failed {
        tracing::error!(plugin = what, step = error.step().as_str(), "{error}");
        if required.contains(&what) {
            missed.get_or_insert(error);
        }
    }
    missed.map_or(Ok(()), |error| Err(AppError::Plugin(error)))
}

/// Returns the identity of this process, as the successor of earlier processes with the same state directory.
fn identity(config: &Config, state_dir: &StateDir) -> Identity {
    let instance = InstanceId::random();
    let predecessors = predecessors::succeed(state_dir.path(), instance).unwrap_or_else(|error| {
        tracing::warn!(%error, "the earlier lives of this host are not known: after a restart behind a proxy, calls on kept connections may fail");
        Vec::new()
    });
    Identity::succeeding(Arc::clone(&config.host_id), instance, predecessors)
}

/// Marks the functions that a plugin can call in itself without the host, because the router runs them here.
fn write_routes(router: &Router, plugins: &Plugins) {
    plugins.write_routes(&|name: &FunctionName| matches!(router.target(name), Target::Local(_)));
}

/// Writes the routes again when the router learns that a peer is this host, or when plugins changed.
fn keep_routes(router: &Arc<Router>, plugins: &Arc<Plugins>) {
    let rewrite = {
        let (router, plugins) = (Arc::downgrade(router), Arc::downgrade(plugins));
        move || {
            if let (Some(router), Some(plugins)) = (router.upgrade(), plugins.upgrade()) {
                write_routes(&router, &plugins);
            }
        }
    };
    router.on_routes(rewrite.clone());
    router.identity().on_home(rewrite.clone());
    plugins.on_change(rewrite);
}
