//! What can be asked of a host by its operator.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, Request};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::unix::UCred;

use super::Admin;
use crate::base::{ErrorCode, FunctionName};
use crate::http::health::json_response;
use crate::http::{Problem, Response, body};
use crate::plugins::{Change, PluginError, PluginStatus, Plugins};
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadOptions {
    /// Name of a file in the plugin directory.
    file: String,
}

/// A change that was asked for.
enum Asked {
    Reload(String, ReloadOptions),
    Rollback(String, RollbackOptions),
    Unload(String),
    Load(LoadOptions),
}

/// Answers one request of the process `who`.
pub(super) async fn answer(admin: &Admin, request: Request<Incoming>, who: UCred) -> Response {
    match route(admin, request, who).await {
        Ok(value) => json_response(&value),
        Err(problem) => problem.into_response(),
    }
}

async fn route(admin: &Admin, request: Request<Incoming>, who: UCred) -> Result<Value, Problem> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().strip_prefix("/admin/v1/").ok_or_else(Problem::no_such_path)?;
    let parts: Vec<&str> = path.split('/').collect();
    match (&head.method, parts.as_slice()) {
        (&Method::GET, ["plugins"]) => Ok(json!({ "plugins": all_plugins(&admin.plugins) })),
        (&Method::GET, ["plugins", name]) => one_plugin(&admin.plugins, name),
        (&Method::GET, ["functions"]) => Ok(functions(admin)),
        (&Method::GET, ["peers"]) => Ok(peers(admin)),
        (&Method::GET, ["explain", name]) => explain(admin, name),
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
            change(admin, Asked::Unload((*name).to_owned()), who).await
        }
        (_, ["plugins", _, "reload" | "rollback" | "unload"]) => Err(Problem::method_not_allowed("POST")),
        (_, ["plugins"]) => Err(Problem::method_not_allowed("GET, POST")),
        (_, ["functions" | "peers"] | ["plugins" | "explain", _]) => Err(Problem::method_not_allowed("GET")),
        _ => Err(Problem::no_such_path()),
    }
}

async fn read(headers: &http::HeaderMap, body: Incoming) -> Result<bytes::Bytes, Problem> {
    let bytes = body::read(headers, body, BODY_BYTES_MAX, BODY_TIMEOUT).await?;
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
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::of_code(
            ErrorCode::InvalidArgument,
            &format!("the body is not the JSON that is expected: {error}"),
        )
    })
}

/// Makes a change, as a task of its own, and writes the line of the audit log.
async fn change(admin: &Admin, asked: Asked, who: UCred) -> Result<Value, Problem> {
    if who.pid().and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id()) {
        // Its drain would wait for the very call that asks.
        let text = "a change of plugins was asked for from inside this host: ask from another process";
        tracing::info!(target: "audit", uid = who.uid(), result = text);
        return Err(Problem::of_code(ErrorCode::PermissionDenied, text));
    }
    let plugins = std::sync::Arc::clone(&admin.plugins);
    let (action, target) = match &asked {
        Asked::Reload(name, _) => ("reload", name.clone()),
        Asked::Rollback(name, _) => ("rollback", name.clone()),
        Asked::Unload(name) => ("unload", name.clone()),
        Asked::Load(options) => ("load", options.file.clone()),
    };
    let uid = who.uid();
    let changed = admin.changes.spawn(async move {
        let changed = match asked {
            Asked::Reload(name, options) => plugins.reload(&name, options.allow_breaking).await,
            Asked::Rollback(name, options) => plugins.rollback(&name, options.generation).await,
            Asked::Unload(name) => plugins.unload(&name).await,
            Asked::Load(options) => plugins.load(&options.file).await,
        };
        audit(action, &target, uid, &changed);
        changed
    });
    let lost = |_| Problem::of_code(ErrorCode::Internal, "the change was lost; the log has more");
    match changed.await.map_err(lost)? {
        Ok(change) => Ok(change_json(&change)),
        Err(error) => Err(refused(&error)),
    }
}

/// One line of the audit log; also where nobody waits for the answer any more.
fn audit(action: &str, target: &str, uid: u32, changed: &Result<Change, PluginError>) {
    match changed {
        Ok(change) => {
            let (plugin, generation, sha256) =
                (change.plugin.as_str(), change.generation, change.sha256.as_deref());
            tracing::info!(target: "audit", action, plugin, uid, sha256, generation, result = "done");
        }
        Err(error) => {
            tracing::info!(target: "audit", action, plugin = target, uid, step = error.step(), result = %error);
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

fn change_json(change: &Change) -> Value {
    let steps: Vec<Value> = change
        .steps
        .iter()
        .map(|step| json!({ "step": step.step, "ms": (step.took.as_secs_f64() * 1e6).round() / 1e3 }))
        .collect();
    json!({
        "plugin": change.plugin, "generation": change.generation, "previous": change.previous,
        "sha256": change.sha256, "steps": steps, "cancelled_calls": change.cancelled_calls,
    })
}

fn all_plugins(plugins: &Plugins) -> Vec<Value> {
    plugins.statuses().iter().map(plugin_json).collect()
}

fn one_plugin(plugins: &Plugins, name: &str) -> Result<Value, Problem> {
    let statuses = plugins.statuses();
    let status = statuses.iter().find(|status| status.name == name);
    status
        .map(plugin_json)
        .ok_or_else(|| Problem::of_code(ErrorCode::NotFound, "there is no plugin of this name"))
}

fn plugin_json(status: &PluginStatus) -> Value {
    let functions: Vec<&str> = status.functions.iter().map(FunctionName::as_str).collect();
    let zombie = |zombie: &crate::plugins::Zombie| json!({ "generation": zombie.generation, "reason": zombie.reason, "mapped_bytes": zombie.mapped_bytes });
    json!({
        "name": status.name, "version": status.version, "state": status.state, "generation": status.generation,
        "sha256": status.sha256, "file": status.file, "functions": functions, "in_flight": status.in_flight,
        "direct_calls": status.direct_calls, "mapped_bytes": status.mapped_bytes,
        "zombies": status.zombies.iter().map(zombie).collect::<Vec<_>>(), "kept": status.kept,
        "published_at": rfc3339(status.published_at),
    })
}

/// `2026-11-23T00:00:00Z`. The civil date is found as in H. Hinnant, "chrono-compatible low-level date algorithms".
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn functions(admin: &Admin) -> Value {
    let table = std::sync::Arc::clone(&admin.router.table().snapshot());
    let functions: Vec<Value> = table
        .sorted()
        .into_iter()
        .map(|(name, function)| {
            let target = admin.router.target(&function.name);
            json!({ "name": name, "plugin": &*function.plugin, "generation": function.generation, "runs": runs(&target) })
        })
        .collect();
    json!({ "functions": functions })
}

fn peers(admin: &Admin) -> Value {
    let peers: Vec<Value> = admin
        .router
        .peers()
        .into_iter()
        .map(|peer| json!({ "url": peer.url().to_string(), "itself": peer.is_itself(), "clock_offset_ms": peer.clock_offset_ms(), "has_key": peer.has_key() }))
        .collect();
    json!({ "peers": peers })
}

fn explain(admin: &Admin, name: &str) -> Result<Value, Problem> {
    let function = FunctionName::new(name)
        .map_err(|error| Problem::of_code(ErrorCode::InvalidArgument, &error.to_string()))?;
    let Decision { target, because } = admin.router.explain(&function);
    let mut explained = json!({ "function": name, "runs": runs(&target), "because": because });
    if let Target::Peers(peers) = &target {
        explained["peer"] = peers.first().map(|peer| peer.url().to_string()).into();
    }
    Ok(explained)
}

fn runs(target: &Target) -> &'static str {
    match target {
        Target::Local(_) => "local",
        Target::Peers(_) => "peer",
        Target::Nowhere => "nowhere",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339() {
        let check =
            |seconds, expected| assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_795_392_000, "2026-11-23T00:00:00Z");
        check(4_107_542_399, "2100-02-28T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
    }
}
