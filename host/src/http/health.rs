//! `GET /health` and `GET /ready`.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::in_force::Gap;
use super::{Door, Response};
use crate::base::rfc3339;
use crate::plugins::{Difference, Failure, PluginStatus, workers_held};

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

/// The host serves calls: everything that it must have is there. What else is wrong now is named: what is not served, and
/// where what serves is not what lies on disk. Once the host is about to end, it is not ready, while it still serves:
/// balancers take it out.
pub(super) fn ready(door: &Door, detail: Detail) -> Response {
    let failure = |failure: Failure| match detail {
        Detail::Names => json!({ "plugin": failure.what }),
        Detail::Reasons => {
            json!({ "plugin": failure.what, "reason": failure.reason, "since": rfc3339(failure.since) })
        }
    };
    let failed: Vec<Value> = door.plugins.failures().into_iter().map(failure).collect();
    let statuses = door.plugins.statuses();
    let published = statuses.iter().filter(|status| status.state == "published");
    let plugins: Vec<&str> = published.map(|status| status.name.as_str()).collect();
    let gap = door.in_force.gap();
    let not_in_force = gap.as_ref().map(|gap| match detail {
        Detail::Names => json!({ "since": gap.since.map(rfc3339) }),
        Detail::Reasons => json!({ "since": gap.since.map(rfc3339), "reason": gap.reason }),
    });
    let is_ending = door.ending.is_announced();
    let mut response = json_response(&json!({
        "status": if is_ending { "stopping" } else { "ready" },
        "reason": is_ending.then_some("the host was told to stop: it still serves, and will not take new calls soon"),
        "warnings": warnings(door, detail, gap.as_ref(), &statuses),
        "host_id": &**door.router.host_id(),
        "plugins": plugins,
        "failed_plugins": failed,
        "config_not_in_force": not_in_force,
        "uptime_ms": u64::try_from(door.clock.uptime().as_millis()).unwrap_or(u64::MAX),
    }));
    if is_ending {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

fn warnings(door: &Door, detail: Detail, gap: Option<&Gap>, statuses: &[PluginStatus]) -> Vec<String> {
    let mut warnings = Vec::new();
    let with_reason = |sentence: String, reason: &str| match detail {
        Detail::Names => sentence,
        Detail::Reasons => format!("{sentence}: {reason}"),
    };
    let since =
        |since: Option<_>| since.map_or_else(String::new, |since| format!(" since {}", rfc3339(since)));
    if let Some(Gap { since: at, reason }) = gap {
        let sentence = format!("the config on disk is not in force{}", since(*at));
        warnings.push(with_reason(sentence, reason));
    }
    let restart_required = door.in_force.restart_required();
    if !restart_required.is_empty() {
        let sentence = "a part of the config needs a restart to come into force".to_owned();
        warnings.push(with_reason(sentence, &restart_required.join(", ")));
    }
    for status in statuses {
        if let Some(Difference { reason, since: at }) = &status.differs_from_file {
            let sentence =
                format!("plugin `{}` serves something else than its file{}", status.name, since(*at));
            warnings.push(with_reason(sentence, reason));
        }
    }
    let (zombies, zombies_max) = door.plugins.zombies();
    if zombies > zombies_max {
        warnings.push(format!("{zombies} retired plugin libraries are still mapped, more than zombies_max = {zombies_max}: restart the host at a good time"));
    }
    let held = workers_held();
    if held > 0 {
        warnings.push(format!(
            "functions hold {held} worker threads, and calls wait: the log names the functions"
        ));
    }
    warnings
}

pub(super) fn json_response(value: &Value) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
