//! The requests of the admin API.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use http::{Method, Request};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::metrics;
use super::state::{Admin, HostRefusal};
use super::views::{PENDING, pending_view};
use super::who::Requester;
use crate::api::{
    AdminPath, ChangeView, ExplainView, ExplainedPeer, FunctionView, FunctionsView, HEALTH_PATH, HostView,
    JSON, LimitView, LoadOptions, METRICS_PATH, PeerView, PeersView, PluginChange, PluginView, PluginsView,
    READY_PATH, ReloadOptions, ReloadView, RollbackOptions, UnloadOptions,
};
use crate::base::{ErrorCode, FunctionName, rfc3339};
use crate::config::PeerUrl;
use crate::functions::Function;
use crate::http::limits::BodyMemory;
use crate::http::request::body;
use crate::http::response::{Problem, Response};
use crate::http::routes::health::{self, Detail, json_response};
use crate::plugins::PluginError;
use crate::router::{Decision, Target};

/// Longest body of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest time for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the response to a request that the listener has let in.
pub(super) async fn answer(admin: &Admin, request: Request<Incoming>, who: Requester) -> Response {
    if let Some(answered) = probe(admin, &request, Detail::Reasons).await {
        return answered.unwrap_or_else(Problem::into_response);
    }
    let answered = match (request.uri().path(), request.method()) {
        (METRICS_PATH, &Method::GET | &Method::HEAD) => metrics::answer(admin, request.headers()).await,
        (METRICS_PATH, _) => Err(Problem::method_not_allowed("GET, HEAD")),
        _ => route(admin, request, who).await,
    };
    answered.unwrap_or_else(Problem::into_response)
}

/// Returns the response to a probe, the same on every listener; `None` for other paths.
pub(super) async fn probe<B>(
    admin: &Admin,
    request: &Request<B>,
    detail: Detail,
) -> Option<Result<Response, Problem>> {
    Some(match (request.uri().path(), request.method()) {
        (HEALTH_PATH, &Method::GET | &Method::HEAD) => Ok(health::alive(&admin.service)),
        (READY_PATH, &Method::GET | &Method::HEAD) => Ok(health::ready(&admin.service, detail).await),
        (HEALTH_PATH | READY_PATH, _) => Err(Problem::method_not_allowed("GET, HEAD")),
        _ => return None,
    })
}

async fn route(admin: &Admin, request: Request<Incoming>, who: Requester) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let path = AdminPath::parse(head.uri.path()).ok_or_else(Problem::no_such_path)?;
    match (&head.method, path) {
        (&Method::GET, AdminPath::Host) => Ok(json_response(&host(admin))),
        (&Method::GET, AdminPath::Plugins) => Ok(json_response(&all_plugins(admin).await?)),
        (&Method::GET, AdminPath::Plugin(name)) => Ok(json_response(&one_plugin(admin, name).await?)),
        (&Method::GET, AdminPath::Functions) => Ok(json_response(&functions(admin))),
        (&Method::GET, AdminPath::Peers) => Ok(json_response(&peers(admin))),
        (&Method::GET, AdminPath::Explain(name)) => Ok(json_response(&explain(admin, name)?)),
        (&Method::POST, AdminPath::Reload) => {
            let ReloadOptions { allow_breaking } = parse_or_default(&read(&head.headers, body).await?)?;
            let host = Arc::clone(&admin.host);
            let changing = Box::pin(async move { of_host(host.reload(allow_breaking).await) });
            change(admin, who, "reload", "*", changing).await
        }
        (&Method::POST, AdminPath::Plugins) => {
            let LoadOptions { file } = parse(&read(&head.headers, body).await?)?;
            let (plugins, name) = (Arc::clone(&admin.service.plugins), file.clone());
            let changing = Box::pin(async move { of_plugin(plugins.load(&file).await) });
            change(admin, who, "load", &name, changing).await
        }
        (&Method::POST, AdminPath::Change(name, action)) => {
            change_plugin(admin, who, name, action, &read(&head.headers, body).await?).await
        }
        (_, AdminPath::Plugins) => Err(Problem::method_not_allowed("GET, POST")),
        (_, AdminPath::Reload | AdminPath::Change(..)) => Err(Problem::method_not_allowed("POST")),
        _ => Err(Problem::method_not_allowed("GET")),
    }
}

async fn read(headers: &http::HeaderMap, mut body: Incoming) -> Result<bytes::Bytes, Problem> {
    // Few connections, each with one body: their number bounds the memory.
    let memory = BodyMemory::new(BODY_BYTES_MAX);
    let bounds =
        body::Bounds { bytes_max: BODY_BYTES_MAX, within: BODY_TIMEOUT, memory: &memory, client: None };
    body::check_encoding(headers)?;
    let (bytes, _taken) = body::read(body::announced(headers), &mut body, bounds, None).await?;
    if !bytes.is_empty() && body::media_type(headers) != JSON {
        return Err(Problem::unsupported_type(JSON));
    }
    Ok(bytes)
}

fn parse_or_default<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.is_empty() { Ok(T::default()) } else { parse(bytes) }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take a list for a struct, its elements for the fields.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::of_code(ErrorCode::InvalidArgument, "the body must be a JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let text = format!("the body is not the JSON that is expected: {error}");
        Problem::of_code(ErrorCode::InvalidArgument, text)
    })
}

/// Refuses a change that a plugin asks for, itself or by a process that it started: the drain would wait for the
/// very call that asks.
async fn refuse_from_inside(who: Requester) -> Result<(), Problem> {
    if !who.is_inside().await {
        return Ok(());
    }
    let text =
        "a change of plugins was asked for from inside this host: ask from a process that it did not start";
    tracing::info!(target: "audit", uid = who.uid(), result = text);
    Err(Problem::of_code(ErrorCode::PermissionDenied, text))
}

async fn change_plugin(
    admin: &Admin,
    who: Requester,
    name: &str,
    action: PluginChange,
    options: &[u8],
) -> Result<Response, Problem> {
    let (plugins, plugin) = (Arc::clone(&admin.service.plugins), name.to_owned());
    let changing: BoxFuture<'static, Result<Changed, Refused>> = match action {
        PluginChange::Reload => {
            let ReloadOptions { allow_breaking } = parse_or_default(options)?;
            Box::pin(async move { of_plugin(plugins.reload(&plugin, allow_breaking).await) })
        }
        PluginChange::Rollback => {
            let RollbackOptions { generation } = parse_or_default(options)?;
            Box::pin(async move { of_plugin(plugins.rollback(&plugin, generation).await) })
        }
        PluginChange::Unload => {
            let UnloadOptions {} = parse_or_default(options)?;
            Box::pin(async move { of_plugin(plugins.unload(&plugin).await) })
        }
    };
    change(admin, who, action.as_str(), name, changing).await
}

/// Makes a change of a plugin or file, as a task of its own, and writes the lines of the audit log.
async fn change(
    admin: &Admin,
    who: Requester,
    action: &'static str,
    target: &str,
    changing: BoxFuture<'static, Result<Changed, Refused>>,
) -> Result<Response, Problem> {
    refuse_from_inside(who).await?;
    let target = target.to_owned();
    let changed = admin.changes.spawn_on(&admin.workers, async move {
        let changed = changing.await;
        audit(action, &target, who, changed.as_ref());
        changed
    });
    let lost = |_| Problem::of_code(ErrorCode::Internal, "the change was lost; the log has more");
    let changed = changed.await.map_err(lost)?.map_err(|refused| refused.problem)?;
    Ok(json_response(&changed))
}

/// A finished change.
#[derive(Serialize)]
#[serde(untagged)]
enum Changed {
    Plugin(ChangeView),
    Host(ReloadView),
}

/// A change that failed: the step, the cause, and the response.
struct Refused {
    step: &'static str,
    reason: String,
    problem: Problem,
}

fn of_host(changed: Result<ReloadView, HostRefusal>) -> Result<Changed, Refused> {
    changed.map(Changed::Host).map_err(|HostRefusal { step, detail: reason, plugins }| {
        let problem = Problem::reload_failed(step, reason.clone(), Some(plugins));
        Refused { step, reason, problem }
    })
}

fn of_plugin(changed: Result<ChangeView, PluginError>) -> Result<Changed, Refused> {
    changed.map(Changed::Plugin).map_err(|error| {
        let (step, reason) = (error.step().as_str(), error.to_string());
        let code = match error {
            PluginError::Unknown { .. } | PluginError::NotPublished { .. } => Some(ErrorCode::NotFound),
            PluginError::NotAFileName { .. }
            | PluginError::NotAPluginFile { .. }
            | PluginError::AlreadyLoaded { .. }
            | PluginError::NotKept { .. } => Some(ErrorCode::InvalidArgument),
            PluginError::Stopping => Some(ErrorCode::Unavailable),
            _ => None,
        };
        let problem = match code {
            Some(code) => Problem::of_code(code, reason.clone()),
            None => Problem::reload_failed(step, reason.clone(), None),
        };
        Refused { step, reason, problem }
    })
}

/// Writes the audit log, one line for each plugin, even if the client has gone.
fn audit(action: &str, target: &str, who: Requester, changed: Result<&Changed, &Refused>) {
    let (uid, who) = (who.uid(), who.token());
    let done = |ChangeView { plugin, sha256, generation, .. }: &ChangeView| {
        tracing::info!(target: "audit", action, plugin, uid, who, sha256, generation, result = "done");
    };
    match changed {
        Ok(Changed::Plugin(change)) => done(change),
        Ok(Changed::Host(reload)) => {
            reload.plugins.iter().for_each(done);
            tracing::info!(target: "audit", action, plugin = target, uid, who, result = "done");
        }
        Err(Refused { step, reason, .. }) => {
            tracing::info!(target: "audit", action, plugin = target, uid, who, step, result = reason);
        }
    }
}

fn host(admin: &Admin) -> HostView {
    HostView {
        host_id: admin.service.router.host_id().to_string(),
        config: admin.config_file.display().to_string(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

async fn all_plugins(admin: &Admin) -> Result<PluginsView, Problem> {
    admin.service.plugins.look_again().await;
    let seen =
        health::look(&admin.service, |service| (service.plugins.statuses(), service.plugins.failures()));
    let (plugins, failed_plugins) = seen.await?;
    Ok(PluginsView { plugins, failed_plugins })
}

async fn one_plugin(admin: &Admin, name: &str) -> Result<PluginView, Problem> {
    admin.service.plugins.look_again().await;
    let statuses = health::look(&admin.service, |service| service.plugins.statuses()).await?;
    let status = statuses.into_iter().find(|status| status.name == name);
    status.ok_or_else(|| Problem::of_code(ErrorCode::NotFound, "there is no plugin of this name"))
}

fn functions(admin: &Admin) -> FunctionsView {
    let table = Arc::clone(&admin.service.router.table().snapshot());
    let view = |(name, function): (&str, &Arc<Function>)| FunctionView {
        name: name.to_owned(),
        plugin: function.plugin.to_string(),
        generation: function.generation,
        runs: runs(&admin.service.router.target(&function.name)).to_owned(),
        limit: LimitView::of(&function.limits.function),
        plugin_limit: LimitView::of(&function.limits.plugin),
    };
    FunctionsView { functions: table.sorted().into_iter().map(view).collect() }
}

fn peers(admin: &Admin) -> PeersView {
    let routes = admin.service.router.routes();
    let found = routes.all.peers.iter().map(|peer| (peer.url(), PeerView::from(&**peer)));
    let pending = routes.all.pending.iter().map(|spec| (&spec.url, pending_view(spec)));
    let mut peers: Vec<(&PeerUrl, PeerView)> = found.chain(pending).collect();
    peers.sort_by_key(|(url, _)| *url);
    PeersView { peers: peers.into_iter().map(|(_, peer)| peer).collect(), now: rfc3339(SystemTime::now()) }
}

fn explain(admin: &Admin, name: &str) -> Result<ExplainView, Problem> {
    let function = FunctionName::new(name)
        .map_err(|error| Problem::of_code(ErrorCode::InvalidArgument, error.to_string()))?;
    let Decision { target, fallback, because } = admin.service.router.explain(&function);
    let now = Instant::now();
    let peer = match &target {
        Target::Pending(url) => Some((url, PENDING, false)),
        target => target
            .first_peer(now)
            .map(|peer| (peer.url(), peer.condition(now).as_str(), peer.last_responder().is_some())),
    };
    let peer = peer.map(|(url, health, has_answered)| ExplainedPeer {
        url: url.to_string(),
        health: health.to_owned(),
        has_answered,
        fallback: fallback.map(|_| "local".to_owned()),
    });
    Ok(ExplainView { function: name.to_owned(), runs: runs(&target).to_owned(), because, peer })
}

fn runs(target: &Target) -> &'static str {
    match target {
        Target::Local(_) => "local",
        Target::Peers(_) | Target::Pending(_) => "peer",
        Target::Nowhere => "nowhere",
    }
}
