//! `GET /health` and `GET /ready`.

use std::sync::Arc;
use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tokio::time::timeout;

use crate::api::{AliveView, ConfigGapView, DifferenceView, FailedPlugin, JSON, PluginView, ReadyView};
use crate::base::{ErrorCode, milliseconds, rfc3339};
use crate::http::response::{Problem, Response, with_body};
use crate::http::service::{ConfigGap, Service};
use crate::plugins::workers_held;

/// Longest wait for a look at the disk.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// The process answers.
pub(crate) fn alive(service: &Service) -> Response {
    let host_id = service.router.host_id().to_string();
    json_response(&AliveView {
        status: "ok".to_owned(),
        host_id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// The amount of detail on failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The names of plugins, for all clients.
    Names,
    /// Names and reasons, with paths and digests: for operators and callers.
    Reasons,
}

/// The host serves calls: everything that it must have is there. What else is wrong now is named: what is not served, and
/// where what serves is not what lies on disk. Once the host is about to end, it is not ready, while it still serves:
/// balancers take it out.
///
/// A disk that does not answer is a warning: calls do not need it.
pub(crate) async fn ready(service: &Arc<Service>, detail: Detail) -> Response {
    let with_disk = look(service, move |service| {
        let seen = (service.plugins.failures(), service.plugins.statuses(), service.in_force.gap());
        said(service, detail, Some(seen))
    });
    with_disk.await.unwrap_or_else(|_| said(service, detail, None))
}

/// Looks at the disk, away from the threads that serve: one look at a time, and none is waited for longer than
/// [`LOOK_MAX`].
///
/// # Errors
/// `unavailable`, if the disk did not answer in time.
pub(crate) async fn look<T: Send + 'static>(
    service: &Arc<Service>,
    job: impl FnOnce(&Service) -> T + Send + 'static,
) -> Result<T, Problem> {
    let service = Arc::clone(service);
    let looked = async {
        let turn = service.in_force.turn().await;
        let looking = move || {
            let _turn = turn;
            job(&service)
        };
        tokio::task::spawn_blocking(looking).await
    };
    let text = "the disk with the plugins and the config did not answer in time";
    let late = || Problem::of_code(ErrorCode::Unavailable, text);
    timeout(LOOK_MAX, looked).await.ok().and_then(Result::ok).ok_or_else(late)
}

/// Returns the answer by what the disk has, if it was looked at.
fn said(
    service: &Service,
    detail: Detail,
    seen: Option<(Vec<FailedPlugin>, Vec<PluginView>, Option<ConfigGap>)>,
) -> Response {
    let is_late = seen.is_none();
    let (failures, statuses, gap) = seen.unwrap_or_else(|| (Vec::new(), service.plugins.loaded(), None));
    let failed = |FailedPlugin { plugin, reason, since, .. }| match detail {
        Detail::Names => FailedPlugin { plugin, ..FailedPlugin::default() },
        Detail::Reasons => FailedPlugin { plugin, step: None, reason, since },
    };
    let published = statuses.iter().filter(|status| status.is_published());
    let mut warnings = warnings(service, detail, gap.as_ref(), &statuses);
    if is_late {
        warnings.push("the disk did not answer in time: what differs there is not known".to_owned());
    }
    let config_not_in_force = gap.map(|gap| ConfigGapView {
        since: gap.since.map(rfc3339),
        reason: Some(gap.reason).filter(|_| detail == Detail::Reasons),
    });
    let is_ending = service.ending.is_announced();
    let reason = "the host was told to stop: it still serves, and will not take new calls soon";
    let mut response = json_response(&ReadyView {
        status: if is_ending { ReadyView::STOPPING } else { ReadyView::READY }.to_owned(),
        reason: is_ending.then(|| reason.to_owned()),
        warnings,
        host_id: service.router.host_id().to_string(),
        plugins: published.map(|status| status.name.clone()).collect(),
        failed_plugins: failures.into_iter().map(failed).collect(),
        config_not_in_force,
        uptime_ms: milliseconds(service.clock.uptime()),
    });
    if is_ending {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

fn warnings(
    service: &Service,
    detail: Detail,
    gap: Option<&ConfigGap>,
    statuses: &[PluginView],
) -> Vec<String> {
    let mut warnings = Vec::new();
    let with_reason = |sentence: String, reason: &str| match detail {
        Detail::Names => sentence,
        Detail::Reasons => format!("{sentence}: {reason}"),
    };
    let since = |since: Option<&str>| since.map_or_else(String::new, |since| format!(" since {since}"));
    if let Some(ConfigGap { since: at, reason }) = gap {
        let sentence = format!("the config on disk is not in force{}", since(at.map(rfc3339).as_deref()));
        warnings.push(with_reason(sentence, reason));
    }
    let restart_required = service.in_force.restart_required();
    if !restart_required.is_empty() {
        let sentence = "a part of the config needs a restart to come into force".to_owned();
        warnings.push(with_reason(sentence, &restart_required.join(", ")));
    }
    for status in statuses {
        if let Some(DifferenceView { reason, since: at }) = &status.differs_from_file {
            let (name, since) = (&status.name, since(at.as_deref()));
            let sentence = format!("plugin `{name}` serves something else than its file{since}");
            warnings.push(with_reason(sentence, reason));
        }
    }
    let (zombies, zombies_max) = service.plugins.zombies();
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

/// Returns a response with the JSON of `view`, its fields by name.
pub(crate) fn json_response(view: &impl Serialize) -> Response {
    let json = serde_json::to_value(view).unwrap_or_default();
    let mut response = with_body(JSON, json.to_string());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
