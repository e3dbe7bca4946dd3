//! `GET /health` and `GET /ready`.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{Door, Response};

/// The process answers.
pub(super) fn alive(door: &Door) -> Response {
    json_response(&json!({ "status": "ok", "host_id": &**door.router.host_id() }))
}

/// The host serves calls: everything that it must have is there. What else failed to load is named.
pub(super) fn ready(door: &Door) -> Response {
    let failed: Vec<Value> = door
        .plugins
        .failures()
        .into_iter()
        .map(|(plugin, reason)| json!({ "plugin": plugin, "reason": reason }))
        .collect();
    let plugins: Vec<String> = door.plugins.statuses().into_iter().map(|status| status.name).collect();
    json_response(&json!({
        "status": "ready",
        "host_id": &**door.router.host_id(),
        "plugins": plugins,
        "failed_plugins": failed,
        "uptime_ms": u64::try_from(door.clock.uptime().as_millis()).unwrap_or(u64::MAX),
    }))
}

pub(super) fn json_response(value: &Value) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
