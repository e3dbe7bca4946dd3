//! From a config to connected parts.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::discovery::Findings;
use super::live::{Lasting, Live};
use super::{AppError, StateDir, clock, judge, lives};
use crate::base::{FunctionName, Identity, InstanceId, Tasks};
use crate::config::{Config, Known};
use crate::files::DirFault;
use crate::functions::{Dispatch, Table};
use crate::http::{BodyMemory, Documents, Door, Ending, Files, InForce};
use crate::plugins::{LoadReport, PluginConfig, PluginError, Plugins, Services, Settings};
use crate::router::{Router, Target};
use crate::wire::ReplayGuard;

/// How many findings may wait until they are put into force; who finds more waits as well.
const FINDINGS: usize = 16;

/// The parts of a daemon.
pub(super) struct Parts {
    pub(super) door: Arc<Door>,
    pub(super) plugins: Arc<Plugins>,
    pub(super) live: Live,
    pub(super) findings: Findings,
}

/// Builds the parts; `opened` gets the plugins before any of them is loaded.
pub(super) async fn build(
    config: Config,
    state_dir: &StateDir,
    client_tasks: &Tasks,
    opened: &OnceLock<Arc<Plugins>>,
) -> Result<Parts, AppError> {
    let clock = clock::start(state_dir.lock_file());
    let files = Files::look(config.files());
    let table = Arc::new(Table::default());
    let (discovered, findings) = mpsc::channel(FINDINGS);
    let lasting = Lasting::first(&config, identity(&config, state_dir));
    let live = Live::make(config, lasting, client_tasks, discovered).await?;
    // While plugins start, which takes longer than peers take to answer.
    live.watch_peers(client_tasks);
    let config = &live.config;
    table.set_limits(config.limits.clone(), config.server.in_flight_per_function_max);
    let router = Router::new(live.identity(), Arc::clone(&table), live.routes());
    router.repeats().set_bounds(live.repeats());
    router.set_answer_bytes_max(config.server.answer_bytes_max);
    let policy = live.policy()?;
    let dispatch: Arc<dyn Dispatch> = Arc::<Router>::clone(&router);
    let plugins = open_plugins(config, state_dir.path(), table, &dispatch)
        .map_err(|fault| AppError::state(&config.state_dir, fault))?;
    opened.get_or_init(|| Arc::clone(&plugins));
    let report = plugins.load_directory(config.load_plugins.as_deref()).await.map_err(AppError::Plugin)?;
    let failed = report.failed.iter().map(|(what, _)| what.clone()).collect();
    if let Err(error) = judge(config, report) {
        plugins.stop(config.reload.drain_timeout).await;
        return Err(error);
    }
    for warning in config.warnings_of_names(&known(&plugins, failed)) {
        tracing::warn!("{warning}");
    }
    write_routes(&router, &plugins);
    keep_routes(&router, &plugins);
    let door = Door {
        router,
        plugins: Arc::clone(&plugins),
        replays: ReplayGuard::new(
            ReplayGuard::WINDOW_DEFAULT,
            ReplayGuard::IDS_MAX_DEFAULT,
            clock.started_at_ms(),
        ),
        policy: ArcSwap::from_pointee(policy),
        clock,
        meters: Arc::default(),
        body_memory: BodyMemory::new(live.config.server.body_memory_max),
        documents: Documents::default(),
        ending: Ending::default(),
        in_force: InForce::new(files),
    };
    Ok(Parts { door: Arc::new(door), plugins, live, findings })
}

/// This process, as the next life of those that held the state directory before.
fn identity(config: &Config, state_dir: &StateDir) -> Identity {
    let instance = InstanceId::random();
    let predecessors = lives::succeed(state_dir.path(), instance).unwrap_or_else(|error| {
        tracing::warn!(%error, "the earlier lives of this host are not known: after a restart behind a proxy, calls on kept connections may fail");
        Vec::new()
    });
    Identity::succeeding(Arc::clone(&config.host_id), instance, predecessors)
}

/// The plugins that serve, and their functions.
pub(super) fn known(plugins: &Plugins, failed: Vec<String>) -> Known {
    let mut known = Known { failed, ..Known::default() };
    for status in plugins.statuses().into_iter().filter(|status| status.state == "published") {
        known.plugins.insert(status.name);
        known.functions.extend(status.functions);
    }
    known
}

/// Loads and starts the plugins of a config, with calls going through `dispatch`.
///
/// `folder` is used by this process alone.
///
/// # Errors
/// [`AppError::State`], [`AppError::UnsafeState`], [`PluginError::Directory`] and [`PluginError::WritableDirectory`]; single plugins that failed
/// are in the report.
pub async fn start_plugins(
    config: &Config,
    folder: &Path,
    table: Arc<Table>,
    dispatch: &Arc<dyn Dispatch>,
) -> Result<(Arc<Plugins>, LoadReport), AppError> {
    let plugins = open_plugins(config, folder, table, dispatch);
    let plugins = plugins.map_err(|fault| AppError::state(folder, fault))?;
    let loaded: Result<_, PluginError> = plugins.load_directory(config.load_plugins.as_deref()).await;
    let report = loaded.map_err(AppError::Plugin)?;
    Ok((plugins, report))
}

fn open_plugins(
    config: &Config,
    folder: &Path,
    table: Arc<Table>,
    dispatch: &Arc<dyn Dispatch>,
) -> Result<Arc<Plugins>, DirFault> {
    let services = Arc::new(Services::new(
        Arc::clone(&config.host_id),
        tokio::runtime::Handle::current(),
        config.server.call_timeout,
    ));
    services.set_layer_percent(config.server.layer_percent);
    services.connect(dispatch);
    Plugins::open(services, table, folder, settings(config)).map(Arc::new)
}

/// What plugins are told by a config.
pub(super) fn settings(config: &Config) -> Settings {
    let config_of = {
        let config = config.clone();
        Box::new(move |plugin: &str| PluginConfig {
            table: config.plugin_settings(plugin).to_string(),
            origins: config.plugin_origins(plugin).to_string(),
        })
    };
    Settings {
        directory: config.plugin_dir.clone(),
        directory_may_be_missing: config.has_default_plugin_dir(),
        start_timeout: config.reload.start_timeout,
        drain_timeout: config.reload.drain_timeout,
        keep_generations: config.reload.keep_generations,
        zombies_max: config.reload.zombies_max,
        unmap: config.reload.unmap,
        trust: Arc::new(config.trust.clone()),
        config_of,
    }
}

/// Calls from inside a plugin to its own functions stay inside, as long as the router has them run here.
fn write_routes(router: &Router, plugins: &Plugins) {
    plugins.write_routes(&|name: &FunctionName| matches!(router.target(name), Target::Local(_)));
}

/// Writes the routes again whenever the router learns that a peer is this host, or plugins changed.
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
