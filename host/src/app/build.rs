//! From a config to connected parts.

use std::collections::HashMap;
use std::sync::Arc;

use super::{AppError, StateDir, judge};
use crate::base::{Clock, FunctionName, Tasks};
use crate::config::{self, Config, PeerUrl, Secret};
use crate::functions::{Dispatch, Table};
use crate::http::{Admission, Door, Limits, Sealing};
use crate::peers::{Client, Peer};
use crate::plugins::{LoadReport, PluginError, Plugins, Services, Settings, Stager};
use crate::router::{Router, Target};
use crate::wire::{Compression, KeyRing, KeySet, Limits as WireLimits, ReplayGuard};

/// What hosts on one machine seal with where no key is configured. It is public: it keeps nothing secret,
/// and is used on loopback only.
const LOOPBACK_SECRET: &str = "fxk1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Smallest plaintext in bytes that is worth compressing.
const COMPRESS_BYTES_MIN: usize = 1024;
/// What an envelope may have around arguments or a result of the largest body.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// The parts of a daemon.
pub(super) struct Parts {
    pub(super) door: Arc<Door>,
    pub(super) plugins: Arc<Plugins>,
}

pub(super) async fn build(
    config: &Config,
    state_dir: &StateDir,
    client_tasks: &Tasks,
) -> Result<Parts, AppError> {
    let clock = Clock::start();
    let keys = {
        let config = config.clone();
        // A passphrase takes some tens of milliseconds each.
        tokio::task::spawn_blocking(move || Keys::derive(&config)).await.map_err(|_| AppError::Thread)??
    };
    let table = Arc::new(Table::default());
    let stager = Stager::new(&state_dir.staged()).map_err(|source| state_dir.refuse(source))?;
    let configured = configured(config, &keys, client_tasks);
    let router =
        Router::new(Arc::clone(&config.host_id), Arc::clone(&table), configured, config.proxy.fallback);
    let dispatch: Arc<dyn Dispatch> = Arc::<Router>::clone(&router);
    let (plugins, report) =
        start_plugins(config, stager, table, &dispatch).await.map_err(AppError::Plugin)?;
    if let Err(error) = judge(config, report) {
        plugins.stop(config.reload.drain_timeout).await;
        return Err(error);
    }
    write_routes(&router, &plugins);
    keep_routes(&router, &plugins);
    let server = &config.server;
    let door = Door {
        router,
        plugins: Arc::clone(&plugins),
        rules: config.door_rules().clone(),
        sealing: Sealing {
            ring: keys.ring,
            closed: !config.answers_peers(),
            replays: ReplayGuard::new(
                ReplayGuard::WINDOW_DEFAULT,
                ReplayGuard::IDS_MAX_DEFAULT,
                clock.started_at_ms(),
            ),
            compression: compression(config, false),
        },
        admission: Admission::new(server.in_flight_max, server.queue_max),
        limits: Limits {
            body_bytes_max: server.body_bytes_max,
            call_timeout: server.call_timeout,
            wire: wire_limits(config),
        },
        clock,
    };
    Ok(Parts { door: Arc::new(door), plugins })
}

/// Loads and starts the plugins of a config, with calls going through `dispatch`.
///
/// # Errors
/// [`PluginError::Directory`] and [`PluginError::WritableDirectory`]; single plugins that failed are in the report.
pub async fn start_plugins(
    config: &Config,
    stager: Stager,
    table: Arc<Table>,
    dispatch: &Arc<dyn Dispatch>,
) -> Result<(Arc<Plugins>, LoadReport), PluginError> {
    let services = Arc::new(Services::new(
        Arc::clone(&config.host_id),
        tokio::runtime::Handle::current(),
        config.server.call_timeout,
        config.reload.start_timeout,
    ));
    services.connect(dispatch);
    let of_plugin = {
        let config = config.clone();
        Box::new(move |plugin: &str| config.plugin_settings(plugin).to_string())
    };
    let settings = Settings {
        directory: config.plugin_dir.clone(),
        drain_timeout: config.reload.drain_timeout,
        keep_generations: config.reload.keep_generations,
        zombies_max: config.reload.zombies_max,
        unmap: config.reload.unmap,
        trust: Arc::new(config.trust.clone()),
        of_plugin,
    };
    let plugins = Arc::new(Plugins::new(services, table, stager, settings));
    if !config.plugin_dir.exists() && config.has_default_plugin_dir() && config.load_plugins.is_none() {
        let directory = config.plugin_dir.display();
        tracing::warn!(%directory, "there is no plugin directory, so no plugins are loaded");
        return Ok((plugins, LoadReport::default()));
    }
    let report = plugins.load_directory(config.load_plugins.as_deref()).await?;
    Ok((plugins, report))
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
    router.on_itself(rewrite.clone());
    plugins.on_change(rewrite);
}

/// The keys of this host and of its peers, each secret derived once.
struct Keys {
    ring: KeyRing,
    of_peers: HashMap<PeerUrl, Arc<KeySet>>,
}

impl Keys {
    fn derive(config: &Config) -> Result<Self, AppError> {
        let public = Arc::new(KeySet::derive(LOOPBACK_SECRET)?);
        let mut derived: Vec<(&Secret, Arc<KeySet>)> = Vec::new();
        let mut of_secret = |secret| derive_once(&mut derived, secret);
        let mut opening =
            config.sealing_secrets().iter().map(&mut of_secret).collect::<Result<Vec<_>, _>>()?;
        if opening.is_empty() {
            opening.push(Arc::clone(&public));
        }
        let mut of_peers = HashMap::new();
        for peer in &config.proxy.peers {
            let key = match config.sealing_secret_for(peer) {
                Some(secret) => of_secret(secret)?,
                None if is_loopback(peer.url.authority()) => Arc::clone(&public),
                None => continue,
            };
            of_peers.insert(peer.url.clone(), key);
        }
        Ok(Self { ring: KeyRing::new(opening)?, of_peers })
    }
}

/// The keys of a secret; the same for a secret that was derived before.
fn derive_once<'a>(
    derived: &mut Vec<(&'a Secret, Arc<KeySet>)>,
    secret: &'a Secret,
) -> Result<Arc<KeySet>, AppError> {
    if let Some((_, keys)) = derived.iter().find(|(known, _)| known.matches(secret.expose().as_bytes())) {
        return Ok(Arc::clone(keys));
    }
    let keys = Arc::new(KeySet::derive(secret.expose())?);
    derived.push((secret, Arc::clone(&keys)));
    Ok(keys)
}

/// The peers of each function that is configured to run on some.
fn configured(config: &Config, keys: &Keys, client_tasks: &Tasks) -> HashMap<FunctionName, Vec<Arc<Peer>>> {
    let limits = wire_limits(config);
    let client = Client::new(client_tasks, limits.plaintext_bytes_max);
    let peers: HashMap<&PeerUrl, Arc<Peer>> = config
        .proxy
        .peers
        .iter()
        .map(|peer| {
            let key = keys.of_peers.get(&peer.url).cloned();
            let compression = compression(config, is_loopback(peer.url.authority()));
            (&peer.url, Arc::new(Peer::new(peer.url.clone(), key, client.clone(), compression, limits)))
        })
        .collect();
    let of_urls = |urls: &Vec<PeerUrl>| urls.iter().filter_map(|url| peers.get(url).cloned()).collect();
    config.proxy.functions.iter().map(|(function, urls)| (function.clone(), of_urls(urls))).collect()
}

fn compression(config: &Config, is_loopback: bool) -> Compression {
    match config.proxy.compression {
        config::Compression::Auto if !is_loopback => Compression::Auto { bytes_min: COMPRESS_BYTES_MIN },
        config::Compression::Auto | config::Compression::Never => Compression::Never,
    }
}

fn wire_limits(config: &Config) -> WireLimits {
    WireLimits { plaintext_bytes_max: config.server.body_bytes_max + ENVELOPE_BYTES_MAX }
}

/// Whether `host:port` is this machine.
fn is_loopback(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_recognised() {
        for authority in
            ["localhost:80", "127.0.0.1:8080", "127.9.9.9:1", "[::1]:8080", "[::ffff:127.0.0.1]:1"]
        {
            assert!(is_loopback(authority), "{authority}");
        }
        for authority in ["remotehost:8080", "128.0.0.1:80", "[::2]:80", "localhost.evil:80"] {
            assert!(!is_loopback(authority), "{authority}");
        }
    }
}
