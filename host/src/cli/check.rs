//! `framex-host check`: the config, and every plugin started once and stopped, without serving.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use framex_host::api::{FUNCTIONS_PATH, OPENAPI_PATH, PluginView, REMOTE_PATH};
use framex_host::app::{AppError, start_plugins};
use framex_host::base::{FunctionName, Identity, one_line};
use framex_host::config::{Config, ConfiguredCaller, Known, SealedCalls, Secret};
use framex_host::files::PrivateDir;
use framex_host::functions::{Handler, Table};
use framex_host::plugins::{Failed, LoadReport};
use framex_host::router::{Router, Routes};
use framex_host::wire::{KeyError, KeySet, key_id_text};
use serde::Serialize;
use serde_json::{Value, json};

use super::arguments::RunFlags;
use super::command_error::CommandError;
use super::daemon;
use super::output::{Output, keep_from_plugins, table};

pub(crate) fn run(config: &Path, flags: &RunFlags, output: Output) -> Result<(), CommandError> {
    let config = Config::load(config, &flags.overrides())?;
    if let Err(error) = std::os::unix::net::SocketAddr::from_pathname(&config.admin_socket) {
        let path = config.admin_socket.display();
        let text = format!("`admin.socket` {path} cannot be listened on: {error}; set it to a shorter path");
        return Err(CommandError::usage(text));
    }
    let mut warnings = config.warnings();
    for warning in &warnings {
        output.remark(&format!("warning: {}", one_line(warning)));
    }
    keep_from_plugins().map_err(|error| {
        CommandError::new(format!("the standard output cannot be kept from plugins: {error}"))
    })?;
    let keys =
        list_keys(&config).map_err(|error| CommandError::usage(format!("a key cannot be used: {error}")))?;
    let (report, statuses) = daemon::runtime()?.block_on(start_and_stop(&config))?;
    let known = Known {
        plugins: statuses.iter().map(|status| status.name.clone()).collect(),
        functions: statuses.iter().flat_map(|status| status.functions.iter().cloned()).collect(),
        failed: report.failed.iter().map(|failed| failed.what.clone()).collect(),
    };
    let of_plugins = [report.warnings.clone(), config.warnings_of_names(&known)].concat();
    for warning in &of_plugins {
        output.remark(&format!("warning: {}", one_line(warning)));
    }
    warnings.extend(of_plugins);
    let failed: Vec<Value> = report
        .failed
        .iter()
        .map(|Failed { what, error, .. }| json!({ "plugin": what, "step": error.step().as_str(), "reason": error.to_string() }))
        .collect();
    let shown = json!({
        "ok": failed.is_empty(),
        "config": config.dump(),
        "access": access_json(&config),
        "keys": keys,
        "warnings": warnings,
        "plugins": statuses.iter().map(plugin_json).collect::<Vec<_>>(),
        "failed_plugins": failed,
    });
    if report.failed.is_empty() {
        return output.show(&shown, || text(&config, &statuses, &keys));
    }
    let sentences = report.failed.iter().map(|failed| failed.error.to_string());
    Err(CommandError::several(sentences).with_json(shown))
}

async fn start_and_stop(config: &Config) -> Result<(LoadReport, Vec<PluginView>), CommandError> {
    // Not the daemon's folder: one may be running with this very config.
    let unusable = |fault| daemon::not_started(&AppError::state(&config.state_dir, fault));
    let state = PrivateDir::open(&config.state_dir).map_err(unusable)?;
    let name = format!("check-{}", std::process::id());
    let folder = config.state_dir.join(&name);
    drop(state.folder(&name).map_err(unusable)?);
    let table = Arc::new(Table::default());
    // Without peers: a plugin that calls others while it starts finds this host's functions only.
    let routes = Routes {
        configured: HashMap::new(),
        all: Default::default(),
        fallback: config.proxy.fallback,
        wait: config.proxy.wait,
    };
    let router =
        Router::new(Arc::new(Identity::new(Arc::clone(&config.host_id))), Arc::clone(&table), routes);
    let dispatch: Arc<dyn Handler> = router;
    let started = start_plugins(config, &folder, table, &dispatch).await;
    let outcome = match started {
        Ok((plugins, report)) => {
            let statuses = plugins.statuses();
            plugins.stop(Duration::from_secs(5)).await;
            Ok((report, statuses))
        }
        Err(error) => Err(daemon::not_started(&error)),
    };
    // Staged copies are gone with their plugins; what is left is the empty folder.
    let _left_behind = std::fs::remove_dir_all(state.entry(&name));
    outcome
}

fn access_json(config: &Config) -> Value {
    let access = &config.access();
    let sealed = match access.sealed {
        SealedCalls::WithKey => "key",
        SealedCalls::Keyless => "open",
        SealedCalls::Closed(_) => "closed",
    };
    let plain = |needs_key: bool| if needs_key { "key" } else { "open" };
    json!({
        "calls": plain(access.needs_key_to_call()),
        "sealed_calls": sealed,
        "catalogue": plain(access.needs_key(FUNCTIONS_PATH)),
        "openapi": plain(access.needs_key(OPENAPI_PATH)),
        "names": access.names,
        "only_from_this_machine": config.server.host.is_loopback(),
    })
}

/// Returns who may call, in one sentence.
fn access_text(config: &Config) -> String {
    let access = &config.access();
    let plain =
        if access.needs_key_to_call() { "need a key" } else { "need no key where no rule asks for one" };
    let sealed = match access.sealed {
        SealedCalls::WithKey => "need a key",
        SealedCalls::Keyless => "are taken from this machine without a key",
        SealedCalls::Closed(_) => "are refused",
    };
    let is_loopback = config.server.host.is_loopback();
    // A key for sealed calls is most likely for hosts elsewhere.
    let reach = if is_loopback && !config.sealing_secrets().is_empty() {
        ", and reach this host from this machine alone, as `server.host` is a loopback address"
    } else {
        ""
    };
    format!("plain calls {plain}; sealed calls {sealed}{reach}")
}

fn plugin_json(status: &PluginView) -> Value {
    let PluginView { name, version, file, sha256, functions, .. } = status;
    json!({ "name": name, "version": version, "file": file, "sha256": sha256, "functions": functions })
}

fn text(config: &Config, statuses: &[PluginView], keys: &[ListedKey]) -> String {
    let mut rows = Vec::new();
    let row = |plugin: &str, version: &str, function: &FunctionName| {
        let runs = match config.proxy.urls_of(function) {
            [] => "local".to_owned(),
            urls => urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        vec![plugin.to_owned(), version.to_owned(), function.to_string(), runs]
    };
    for status in statuses {
        rows.extend(status.functions.iter().map(|function| row(&status.name, &status.version, function)));
    }
    let is_here = |function: &FunctionName| statuses.iter().any(|status| status.functions.contains(function));
    let elsewhere = config.proxy.functions.keys().filter(|function| !is_here(function));
    rows.extend(elsewhere.map(|function| row("-", "-", function)));
    let peers = config.proxy.peers.iter().map(|peer| {
        let bound = match (&peer.host_id, peer.bind) {
            (Some(host_id), _) => format!("host {host_id}"),
            (None, true) => "the host that answers".to_owned(),
            (None, false) => "no host".to_owned(),
        };
        let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        vec![peer.url.to_string(), yes_no(true), yes_no(peer.url.is_https()), bound]
    });
    let peers = match config.proxy.peers.is_empty() {
        true => String::new(),
        false => format!("\n\n{}", table(&["PEER", "SEALED", "ENCRYPTED", "BOUND TO"], peers)),
    };
    format!(
        "{}{peers}{}\n\n{} is good: {} would listen on {}, where {}",
        table(&["PLUGIN", "VERSION", "FUNCTION", "RUNS"], rows),
        keys_text(keys),
        config.file.display(),
        config.configured_host_id().map_or_else(|| "the host".to_owned(), |id| format!("host {id}")),
        config.server.listen(),
        access_text(config)
    )
}

/// A key that seals or opens frames, by whose id the operators of two hosts can compare what each of them has.
#[derive(Serialize)]
struct ListedKey {
    /// The path, peer or caller that it is for.
    of: String,
    #[serde(rename = "use")]
    usage: &'static str,
    id: String,
}

/// Derives the id of each key; a passphrase takes some tens of milliseconds.
fn list_keys(config: &Config) -> Result<Vec<ListedKey>, KeyError> {
    let listed = |of: String, usage, secret: &Secret| {
        let id = key_id_text(KeySet::derive(secret.expose())?.id());
        Ok(ListedKey { of, usage, id })
    };
    let seals = |place: usize| if place == 0 { "seals and opens" } else { "opens" };
    let rule = config.sealing_secrets().iter().enumerate();
    let rule = rule.map(|(place, secret)| listed(REMOTE_PATH.to_owned(), seals(place), secret));
    let peers = config.proxy.peers.iter().filter_map(|peer| Some((peer, peer.key.as_ref()?)));
    let peers = peers.map(|(peer, secret)| listed(peer.url.to_string(), "seals", secret));
    let callers = config.callers.iter().flat_map(|ConfiguredCaller { caller, keys, .. }| {
        keys.iter().map(move |key| listed(format!("caller {}", caller.name), "opens", key))
    });
    rule.chain(peers).chain(callers).collect()
}

/// A table; nothing where there are no keys.
fn keys_text(keys: &[ListedKey]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let rows =
        keys.iter().map(|ListedKey { of, usage, id }| vec![of.clone(), (*usage).to_owned(), id.clone()]);
    format!("\n\n{}", table(&["KEY OF", "USE", "KEY ID"], rows))
}
