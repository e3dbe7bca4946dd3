//! What can be asked of a host by its operator.

use std::time::{Duration, Instant, SystemTime};

use http::{Method, Request};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::json::{
    PENDING, change_json, host_change_json, not_served_json, peer_json, pending_json, plugin_json, refusal,
};
use super::who::Who;
use super::{Admin, metrics};
use crate::base::{ErrorCode, FunctionName, PlaceLimit, Places, rfc3339};
use crate::config::{HEALTH_PATH, PeerUrl, READY_PATH};
use crate::http::health::{self, Detail, json_response};
use crate::http::{Problem, Response, body};
use crate::plugins::{Change, PluginError};
use crate::router::{Decision, Target};

/// Longest body of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReloadOptions {
    /// Also if callers of the old build break.
    allow_breaking: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RollbackOptions {
    /// Which one; the newest that is kept without it.
    generation: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnloadOptions {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadOptions {
    /// Name of a file in the plugin directory.
    file: String,
}

/// A change that was asked for.
enum Asked {
    ReloadHost(ReloadOptions),
    Reload(String, ReloadOptions),
    Rollback(String, RollbackOptions),
    Unload(String),
    Load(LoadOptions),
}

/// Answers one request of `who`, whom the listener has let in.
pub(super) async fn answer(admin: &Admin, request: Request<Incoming>, who: Who) -> Response {
    if let Some(answered) = probe(admin, &request, Detail::Reasons).await {
        return answered.unwrap_or_else(Problem::into_response);
    }
    if request.uri().path() == "/metrics" {
        let allowed = matches!(*request.method(), Method::GET | Method::HEAD);
        let answered = if allowed {
            metrics::answer(admin, request.headers()).await
        } else {
            Err(Problem::method_not_allowed("GET, HEAD"))
        };
        return answered.unwrap_or_else(Problem::into_response);
    }
    match route(admin, request, who).await {
        Ok(value) => json_response(&value),
        Err(problem) => problem.into_response(),
    }
}

/// Answers what a probe asks, on every listener in the same form; `None` for other paths.
pub(super) async fn probe<B>(
    admin: &Admin,
    request: &Request<B>,
    detail: Detail,
) -> Option<Result<Response, Problem>> {
    let path = request.uri().path();
    if ![HEALTH_PATH, READY_PATH].contains(&path) {
        return None;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some(Err(Problem::method_not_allowed("GET, HEAD")));
    }
    let alive = path == HEALTH_PATH;
    let door = &admin.door;
    Some(Ok(if alive { health::alive(door) } else { health::ready(door, detail).await }))
}

async fn route(admin: &Admin, request: Request<Incoming>, who: Who) -> Result<Value, Problem> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().strip_prefix("/admin/v1/").ok_or_else(Problem::no_such_path)?;
    let parts: Vec<&str> = path.split('/').collect();
    match (&head.method, parts.as_slice()) {
        (&Method::GET, ["host"]) => Ok(host(admin)),
        (&Method::GET, ["plugins"]) => all_plugins(admin).await,
        (&Method::GET, ["plugins", name]) => one_plugin(admin, name).await,
        (&Method::GET, ["functions"]) => Ok(functions(admin)),
        (&Method::GET, ["peers"]) => Ok(peers(admin)),
        (&Method::GET, ["explain", name]) => explain(admin, name),
        (&Method::POST, ["reload"]) => {
            change(admin, Asked::ReloadHost(options_or_default(&head.headers, body).await?), who).await
        }
        (&Method::POST, ["plugins"]) => {
            change(admin, Asked::Load(options(&head.headers, body).await?), who).await
        }
        (&Method::POST, ["plugins", name, "reload"]) => {
            let options = options_or_default(&head.headers, body).await?;
            change(admin, Asked::Reload((*name).to_owned(), options), who).await
        }
        (&Method::POST, ["plugins", name, "rollback"]) => {
            let options = options_or_default(&head.headers, body).await?;
            change(admin, Asked::Rollback((*name).to_owned(), options), who).await
        }
        (&Method::POST, ["plugins", name, "unload"]) => {
            let UnloadOptions {} = options_or_default(&head.headers, body).await?;
            change(admin, Asked::Unload((*name).to_owned()), who).await
        }
        (_, ["reload"] | ["plugins", _, "reload" | "rollback" | "unload"]) => {
            Err(Problem::method_not_allowed("POST"))
        }
        (_, ["plugins"]) => Err(Problem::method_not_allowed("GET, POST")),
        (_, ["host" | "functions" | "peers"] | ["plugins" | "explain", _]) => {
            Err(Problem::method_not_allowed("GET"))
        }
        _ => Err(Problem::no_such_path()),
    }
}

async fn read(headers: &http::HeaderMap, mut body: Incoming) -> Result<bytes::Bytes, Problem> {
    // Few connections, each with one body: their number bounds the memory.
    let memory = body::BodyMemory::new(BODY_BYTES_MAX);
    let bounds =
        body::Bounds { bytes_max: BODY_BYTES_MAX, within: BODY_TIMEOUT, memory: &memory, guest: None };
    body::check_encoding(headers)?;
    let (bytes, _taken) = body::read(body::announced(headers), &mut body, bounds, None).await?;
    if !bytes.is_empty() && body::media_type(headers) != "application/json" {
        return Err(Problem::unsupported_type("application/json"));
    }
    Ok(bytes)
}

async fn options<T: DeserializeOwned>(headers: &http::HeaderMap, body: Incoming) -> Result<T, Problem> {
    parse(&read(headers, body).await?)
}

async fn options_or_default<T: DeserializeOwned + Default>(
    headers: &http::HeaderMap,
    body: Incoming,
) -> Result<T, Problem> {
    let bytes = read(headers, body).await?;
    if bytes.is_empty() { Ok(T::default()) } else { parse(&bytes) }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take a list for a struct, its elements for the fields.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::of_code(ErrorCode::InvalidArgument, "the body must be a JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::of_code(
            ErrorCode::InvalidArgument,
            &format!("the body is not the JSON that is expected: {error}"),
        )
    })
}

/// Refuses a change that a plugin asks for, itself or by a process that it started: the drain would wait for the
/// very call that asks.
async fn refuse_from_inside(who: Who) -> Result<(), Problem> {
    if !who.is_inside().await {
        return Ok(());
    }
    let text =
        "a change of plugins was asked for from inside this host: ask from a process that it did not start";
    tracing::info!(target: "audit", uid = who.uid(), result = text);
    Err(Problem::of_code(ErrorCode::PermissionDenied, text))
}

/// Makes a change, as a task of its own, and writes the line of the audit log.
async fn change(admin: &Admin, asked: Asked, who: Who) -> Result<Value, Problem> {
    refuse_from_inside(who).await?;
    let Admin { plugins, host, .. } = admin.clone();
    let changed = admin.changes.spawn_on(&admin.workers, async move {
        let (action, target) = asked.words();
        let changed = match asked {
            Asked::ReloadHost(options) => {
                host.reload(options.allow_breaking).await.map(|change| host_change_json(&change)).map_err(
                    |error| {
                        Box::new(Refused { step: error.step, problem: refusal(&error), reason: error.detail })
                    },
                )
            }
            Asked::Reload(name, options) => of_plugin(plugins.reload(&name, options.allow_breaking).await),
            Asked::Rollback(name, options) => of_plugin(plugins.rollback(&name, options.generation).await),
            Asked::Unload(name) => of_plugin(plugins.unload(&name).await),
            Asked::Load(options) => of_plugin(plugins.load(&options.file).await),
        };
        audit(action, &target, who, &changed);
        changed
    });
    let lost = |_| Problem::of_code(ErrorCode::Internal, "the change was lost; the log has more");
    changed.await.map_err(lost)?.map_err(|refused| refused.problem)
}

/// What came of a change: what it answers.
type Changed = Result<Value, Box<Refused>>;

/// The step of a change that failed, why, and what that answers.
struct Refused {
    step: &'static str,
    reason: String,
    problem: Problem,
}

fn of_plugin(changed: Result<Change, PluginError>) -> Changed {
    changed.map(|change| change_json(&change)).map_err(|error| {
        Box::new(Refused { step: error.step(), reason: error.to_string(), problem: refused(&error) })
    })
}

impl Asked {
    /// What is asked for, and of which plugin or file.
    fn words(&self) -> (&'static str, String) {
        match self {
            Self::ReloadHost(_) => ("reload", "*".to_owned()),
            Self::Reload(name, _) => ("reload", name.clone()),
            Self::Rollback(name, _) => ("rollback", name.clone()),
            Self::Unload(name) => ("unload", name.clone()),
            Self::Load(options) => ("load", options.file.clone()),
        }
    }
}

/// Lines of the audit log, one for each plugin; also where nobody waits for the answer any more.
fn audit(action: &str, target: &str, who: Who, changed: &Changed) {
    let (uid, who) = (who.uid(), who.token());
    match changed {
        Ok(change) => {
            let plugins = change["plugins"].as_array();
            let each = plugins.map_or(std::slice::from_ref(change), Vec::as_slice);
            for change in each {
                let (plugin, sha256) = (change["plugin"].as_str(), change["sha256"].as_str());
                let generation = change["generation"].as_u64();
                tracing::info!(target: "audit", action, plugin, uid, who, sha256, generation, result = "done");
            }
            if plugins.is_some() {
                tracing::info!(target: "audit", action, plugin = target, uid, who, result = "done");
            }
        }
        Err(refused) => {
            let Refused { step, reason, .. } = &**refused;
            tracing::info!(target: "audit", action, plugin = target, uid, who, step, result = reason);
        }
    }
}

fn refused(error: &PluginError) -> Problem {
    let text = error.to_string();
    match error {
        PluginError::Unknown { .. } | PluginError::NotPublished { .. } => {
            Problem::of_code(ErrorCode::NotFound, &text)
        }
        PluginError::NotAFileName { .. }
        | PluginError::NotAPluginFile { .. }
        | PluginError::AlreadyLoaded { .. }
        | PluginError::NotKept { .. } => Problem::of_code(ErrorCode::InvalidArgument, &text),
        PluginError::Stopping => Problem::of_code(ErrorCode::Unavailable, &text),
        _ => Problem::reload_failed(error.step(), &text),
    }
}

/// Which host this is, so that nobody takes it for another one.
fn host(admin: &Admin) -> Value {
    json!({
        "host_id": &**admin.router.host_id(), "config": admin.config_file.display().to_string(),
        "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"),
    })
}

async fn all_plugins(admin: &Admin) -> Result<Value, Problem> {
    admin.plugins.look_again().await;
    let seen = health::look(&admin.door, |door| (door.plugins.statuses(), door.plugins.failures()));
    let (statuses, failures) = seen.await?;
    let served: Vec<Value> = statuses.iter().map(plugin_json).collect();
    let failed: Vec<Value> = failures.iter().map(not_served_json).collect();
    Ok(json!({ "plugins": served, "failed_plugins": failed }))
}

async fn one_plugin(admin: &Admin, name: &str) -> Result<Value, Problem> {
    admin.plugins.look_again().await;
    let statuses = health::look(&admin.door, |door| door.plugins.statuses()).await?;
    let status = statuses.iter().find(|status| status.name == name);
    status
        .map(plugin_json)
        .ok_or_else(|| Problem::of_code(ErrorCode::NotFound, "there is no plugin of this name"))
}

fn functions(admin: &Admin) -> Value {
    let table = std::sync::Arc::clone(&admin.router.table().snapshot());
    let functions: Vec<Value> = table
        .sorted()
        .into_iter()
        .map(|(name, function)| {
            let target = admin.router.target(&function.name);
            json!({
                "name": name, "plugin": &*function.plugin, "generation": function.generation, "runs": runs(&target),
                "limit": limit_json(&function.places.function), "plugin_limit": limit_json(&function.places.plugin),
            })
        })
        .collect();
    json!({ "functions": functions })
}

/// Nothing where there is no limit.
fn limit_json(places: &Places) -> Option<Value> {
    let PlaceLimit { in_flight_max, queue_max } = places.limit()?;
    let (running, waiting) = (places.running(), places.waiting());
    Some(
        json!({ "in_flight_max": in_flight_max, "queue_max": queue_max, "running": running, "waiting": waiting }),
    )
}

fn peers(admin: &Admin) -> Value {
    let routes = admin.router.routes();
    let mut peers: Vec<(&PeerUrl, Value)> =
        routes.all.peers.iter().map(|peer| (peer.url(), peer_json(peer))).collect();
    peers.extend(routes.all.pending.iter().map(|pending| (&pending.url, pending_json(pending))));
    peers.sort_by_key(|(url, _)| *url);
    let peers: Vec<Value> = peers.into_iter().map(|(_, peer)| peer).collect();
    json!({ "peers": peers, "now": rfc3339(SystemTime::now()) })
}

fn explain(admin: &Admin, name: &str) -> Result<Value, Problem> {
    let function = FunctionName::new(name)
        .map_err(|error| Problem::of_code(ErrorCode::InvalidArgument, &error.to_string()))?;
    let Decision { target, fallback, because } = admin.router.explain(&function);
    let mut explained = json!({ "function": name, "runs": runs(&target), "because": because });
    if let Target::Pending(url) = &target {
        explained["peer"] = url.to_string().into();
        explained["peer_health"] = PENDING.into();
        explained["peer_has_answered"] = false.into();
        explained["fallback"] = fallback.map(|_| "local").into();
    } else if let Some(peer) = target.first_peer(Instant::now()) {
        explained["peer"] = peer.url().to_string().into();
        explained["peer_health"] = peer.condition(Instant::now()).as_str().into();
        explained["peer_has_answered"] = peer.met().is_some().into();
        explained["fallback"] = fallback.map(|_| "local").into();
    }
    Ok(explained)
}

fn runs(target: &Target) -> &'static str {
    match target {
        Target::Local(_) => "local",
        Target::Peers(_) | Target::Pending(_) => "peer",
        Target::Nowhere => "nowhere",
    }
}
