//! `GET /health` and `GET /ready`.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{Door, Response};
use crate::plugins::workers_held;

/// The process answers.
pub(super) fn alive(door: &Door) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    json_response(&json!({ "status": "ok", "host_id": &**door.router.host_id(), "version": version }))
}

/// How much is said of what failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// Which plugins, for anyone.
    Names,
    /// Why as well, with paths and digests: for operators and callers.
    Reasons,
}

/// The host serves calls: everything that it must have is there. What else failed to load is named. Once the host is
/// about to end, it is not ready, while it still serves: balancers take it out.
pub(super) fn ready(door: &Door, detail: Detail) -> Response {
    let failure = |(plugin, reason): (String, String)| match detail {
        Detail::Names => json!({ "plugin": plugin }),
        Detail::Reasons => json!({ "plugin": plugin, "reason": reason }),
    };
    let failed: Vec<Value> = door.plugins.failures().into_iter().map(failure).collect();
    let statuses = door.plugins.statuses().into_iter();
    let plugins: Vec<String> =
        statuses.filter(|status| status.state == "published").map(|status| status.name).collect();
    let (zombies, zombies_max) = door.plugins.zombies();
    let mut warnings = Vec::new();
    if zombies > zombies_max {
        warnings.push(format!("{zombies} retired plugin libraries are still mapped, more than zombies_max = {zombies_max}: restart the host at a good time"));
    }
    let held = workers_held();
    if held > 0 {
        warnings.push(format!(
            "functions hold {held} worker threads, and calls wait: the log names the functions"
        ));
    }
    let is_ending = door.ending.is_announced();
    let mut response = json_response(&json!({
        "status": if is_ending { "stopping" } else { "ready" },
        "reason": is_ending.then_some("the host was told to stop: it still serves, and will not take new calls soon"),
        "warnings": warnings,
        "host_id": &**door.router.host_id(),
        "plugins": plugins,
        "failed_plugins": failed,
        "uptime_ms": u64::try_from(door.clock.uptime().as_millis()).unwrap_or(u64::MAX),
    }));
    if is_ending {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

pub(super) fn json_response(value: &Value) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
