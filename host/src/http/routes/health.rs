//! `GET /health` and `GET /ready`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use tokio::time::timeout;

use crate::api::{AliveView, ConfigGapView, DifferenceView, FailedPlugin, JSON, PluginView, ReadyView};
use crate::base::{ErrorCode, rfc3339};
use crate::http::response::{Problem, Response};
use crate::http::service::{ConfigGap, Service};
use crate::plugins::workers_held;

/// Longest wait for a look at the disk.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// The process answers.
pub(crate) fn alive(service: &Service) -> Response {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    json_response(&AliveView {
        status: "ok".to_owned(),
        host_id: service.router.host_id().to_string(),
        version,
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
        let seen = ReadyInputs {
            failures: service.plugins.failures(),
            statuses: service.plugins.statuses(),
            gap: service.in_force.gap(),
            is_all: true,
        };
        said(service, detail, seen)
    });
    with_disk.await.unwrap_or_else(|_| {
        let statuses = service.plugins.loaded();
        said(service, detail, ReadyInputs { failures: Vec::new(), statuses, gap: None, is_all: false })
    })
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
        let service = Arc::clone(&service);
        let looking = move || {
            let _turn = turn;
            job(&service)
        };
        tokio::task::spawn_blocking(looking).await
    };
    match timeout(LOOK_MAX, looked).await {
        Ok(Ok(seen)) => Ok(seen),
        _ => Err(Problem::of_code(
            ErrorCode::Unavailable,
            "the disk with the plugins and the config did not answer in time",
        )),
    }
}

/// The inputs of `/ready`.
struct ReadyInputs {
    failures: Vec<FailedPlugin>,
    statuses: Vec<PluginView>,
    gap: Option<ConfigGap>,
    /// Of the disk as well.
    is_all: bool,
}

fn said(service: &Service, detail: Detail, seen: ReadyInputs) -> Response {
    let ReadyInputs { failures, statuses, gap, is_all } = seen;
    let failed = |FailedPlugin { plugin, reason, since, .. }| match detail {
        Detail::Names => FailedPlugin { plugin, ..FailedPlugin::default() },
        Detail::Reasons => FailedPlugin { plugin, step: None, reason, since },
    };
    let published = statuses.iter().filter(|status| status.is_published());
    let config_not_in_force = gap.as_ref().map(|gap| ConfigGapView {
        since: gap.since.map(rfc3339),
        reason: (detail == Detail::Reasons).then(|| gap.reason.clone()),
    });
    let mut warnings = warnings(service, detail, gap.as_ref(), &statuses);
    if !is_all {
        warnings.push("the disk did not answer in time: what differs there is not known".to_owned());
    }
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
        uptime_ms: u64::try_from(service.clock.uptime().as_millis()).unwrap_or(u64::MAX),
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
            let sentence = format!(
                "plugin `{}` serves something else than its file{}",
                status.name,
                since(at.as_deref())
            );
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
    let mut response = Response::new(Full::new(Bytes::from(json.to_string())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
