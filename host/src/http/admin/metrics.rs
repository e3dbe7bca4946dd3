//! `GET /metrics`: everything that is counted, as OpenMetrics for clients that ask for it, or else in the older text format
//! of Prometheus.

mod plain;

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use http_body_util::Full;
use mediatype::{MediaType, Name, ReadParams};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::state::Admin;
use crate::api::PluginView;
use crate::base::{FunctionName, LOG_LINES_DROPPED, Limiter};
use crate::functions::CallStats;
use crate::http::request::accept;
use crate::http::response::{Problem, Response};
use crate::http::routes::health;
use crate::peers::{Condition, PeerLimit, Timestamp};
use crate::plugins::{functions_that_held_workers, workers_held};

/// The media type that current versions of Prometheus ask for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type for all other clients.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn answer(admin: &Admin, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut registry = Registry::with_prefix("framex");
    registry.register_collector(Box::new(HostCollector(admin.clone())));
    let encoded = health::look(&admin.service, move |_| {
        let mut shown = String::new();
        text::encode(&mut shown, &registry).map(|()| shown)
    });
    let shown = encoded
        .await?
        .map_err(|_| Problem::of_code(crate::base::ErrorCode::Internal, "the metrics cannot be written"))?;
    let (content_type, shown) = match wants_openmetrics(headers) {
        true => (OPENMETRICS, shown),
        false => (PLAIN, plain::of_openmetrics(&shown)),
    };
    let mut response = Response::new(Full::new(Bytes::from(shown)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Returns true for a client that likes OpenMetrics better, in the version that is written here or any.
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let is_of = |range: &MediaType<'_>, versions: &[&str]| {
        let version = range.get_param(Name::new_unchecked("version"));
        version.is_none_or(|version| versions.contains(&&*version.unquoted_str()))
    };
    let openmetrics =
        accept::quality(headers, ("application", "openmetrics-text"), |range| is_of(range, &["1.0.0"]));
    let plain = accept::quality(headers, ("text", "plain"), |range| is_of(range, &["0.0.4"]));
    openmetrics > plain
}

/// Reads all counts when it is asked to: nothing is registered while the host works.
#[derive(Debug)]
struct HostCollector(Admin);

impl Collector for HostCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        host(to, &self.0)?;
        listener(to, &self.0)?;
        functions(to, &self.0)?;
        limits(to, &self.0)?;
        peers(to, &self.0)?;
        plugins(to, &self.0)
    }
}

fn host(to: &mut DescriptorEncoder<'_>, admin: &Admin) -> fmt::Result {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    gauges(to, "build_info", "What runs.", [(version, 1.0)])?;
    let uptime = admin.service.clock.uptime().as_secs_f64();
    gauges(to, "uptime_seconds", "How long the host has been running.", [([("", ""); 0], uptime)])?;
    let dropped = LOG_LINES_DROPPED.get();
    let help = "Lines of the log that its reader did not take, or that the system could not write.";
    counters(to, "log_lines_dropped", help, [([("", ""); 0], dropped)])?;
    let (successful, last) = admin.service.in_force.last();
    let help = "1 if the last reload of the config was done, 0 if it was refused; the start counts.";
    let successful = f64::from(u8::from(successful));
    gauges(to, "config_last_reload_successful", help, [([("", ""); 0], successful)])?;
    let help = "When the last reload of the config was done, in seconds since 1970; the start counts.";
    let last = last.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    gauges(to, "config_last_reload_success_timestamp_seconds", help, [([("", ""); 0], last)])?;
    if let Some(process) = Process::read() {
        let Process { resident_bytes, open_files, threads } = process;
        let none = [("", ""); 0];
        gauges(to, "resident_memory_bytes", "Resident memory.", [(none, resident_bytes)])?;
        gauges(to, "open_files", "Open descriptors.", [(none, open_files)])?;
        gauges(to, "threads", "Threads, including threads of plugins.", [(none, threads)])?;
    }
    Ok(())
}

/// The system's data on this process.
struct Process {
    resident_bytes: f64,
    open_files: f64,
    threads: f64,
}

impl Process {
    /// Nothing where there is no `/proc`.
    fn read() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count();
        // The one that reads the folder is one of them.
        let open_files = open_files.saturating_sub(1) as f64;
        Some(Self { resident_bytes: number("VmRSS:")? * 1024.0, open_files, threads: number("Threads:")? })
    }
}

fn listener(to: &mut DescriptorEncoder<'_>, admin: &Admin) -> fmt::Result {
    let none = [("", ""); 0];
    let (service, meters) = (&admin.service, &admin.service.meters);
    let policy = service.policy.load();
    gauges(to, "connections", "Open connections.", [(none, meters.open_connections() as f64)])?;
    counters(to, "connections_accepted", "Accepted connections.", [(none, meters.accepted.get())])?;
    gauges(
        to,
        "calls_in_flight",
        "Running calls from outside, except calls that wait for a peer.",
        [(none, policy.admission.running() as f64)],
    )?;
    gauges(to, "calls_queued", "Waiting calls from outside.", [(none, policy.admission.waiting() as f64)])?;
    let help = "Memory of the bodies of requests and unread responses, out of server.body_memory_max.";
    gauges(to, "body_memory_bytes", help, [(none, service.body_memory.taken() as f64)])?;
    let refused = meters.refused().map(|(code, count)| ([("code", code.as_str())], count));
    counters(to, "requests_refused", "Requests that were answered with an error, by code.", refused)?;
    let [functions, plugins] = admin.service.router.table().limits();
    let sum = |places: &[(String, Arc<Limiter>)]| places.iter().map(|(_, places)| places.rejected()).sum();
    let per_function = admin.service.router.table().shares_rejected();
    let of_names =
        [("function", sum(&functions)), ("plugin", sum(&plugins)), ("in_flight_per_function", per_function)];
    let limited = meters.limited().map(|(limit, count)| (limit.as_str(), count)).chain(of_names);
    let limited = limited.map(|(limit, count)| ([("limit", limit)], count));
    counters(to, "limits_reached", "How often each limit acted.", limited)?;
    let repeats = admin.service.router.outcomes();
    let (remembered, bytes) = repeats.size();
    let help = "Calls with idempotency keys that are remembered.";
    gauges(to, "idempotency_remembered", help, [(none, remembered as f64)])?;
    gauges(to, "idempotency_memory_bytes", "Memory of remembered calls.", [(none, bytes as f64)])?;
    let help = "Outcomes that were answered with the outcome of the first call.";
    counters(to, "idempotency_repeats_answered", help, [(none, repeats.answered.get())])?;
    let help = "Outcomes that were not kept, as they were too large or the share of their caller was full.";
    counters(to, "idempotency_forgotten", help, [(none, repeats.unkept.get())])?;
    let help = "Calls that were refused, as the share of their caller of that memory was full.";
    counters(to, "idempotency_refused", help, [(none, repeats.refused.get())])?;
    let window = service.replays.window(service.clock.now_ms()).as_secs_f64();
    let help = "Maximum age of a sealed frame: less than configured while the memory is full.";
    gauges(to, "replay_window_seconds", help, [(none, window)])?;
    let remembered = service.replays.remembered() as f64;
    gauges(to, "replay_frames_remembered", "Sealed frames that are remembered.", [(none, remembered)])
}

fn functions(to: &mut DescriptorEncoder<'_>, admin: &Admin) -> fmt::Result {
    let stats = admin.service.router.table().stats();
    let of = || stats.iter().map(|(name, stats)| (name.as_str(), &**stats));
    calls(to, "function", "that ran here", &of)?;
    let held = functions_that_held_workers();
    let held = held.iter().map(|(name, held)| ([("function", name.as_str())], *held));
    let help = "How often a function held a worker thread for more than 100 ms without a pause.";
    counters(to, "function_held_worker", help, held)?;
    let help = "Worker threads that functions have held for more than 100 ms.";
    gauges(to, "workers_held", help, [([("", ""); 0], workers_held() as f64)])
}

/// Of functions and plugins that have a limit.
fn limits(to: &mut DescriptorEncoder<'_>, admin: &Admin) -> fmt::Result {
    let [functions, plugins] = admin.service.router.table().limits();
    for (label, places) in [("function", functions), ("plugin", plugins)] {
        let of = |value: &dyn Fn(&Limiter) -> usize| {
            let value = |(name, places): &(String, Arc<Limiter>)| (name.clone(), value(places));
            places.iter().map(value).collect::<Vec<_>>()
        };
        let mut show = |name: &str, help: &str, value: &dyn Fn(&Limiter) -> usize| {
            let values = of(value);
            let values = values.iter().map(|(name, value)| ([(label, name.as_str())], *value as f64));
            gauges(to, &format!("{label}_limit_{name}"), help, values)
        };
        show("running", "Calls that have a place under the limit.", &Limiter::running)?;
        show("waiting", "Calls that wait for a place.", &Limiter::waiting)?;
        let reached = places.iter().map(|(name, places)| ([(label, name.as_str())], places.rejected()));
        let help = "Calls that got no place: the queue was full, or their time ran out in it.";
        counters(to, &format!("{label}_limit_reached"), help, reached)?;
    }
    Ok(())
}

fn peers(to: &mut DescriptorEncoder<'_>, admin: &Admin) -> fmt::Result {
    let peers = admin.service.router.peers();
    let urls: Vec<String> = peers.iter().map(|peer| peer.url().to_string()).collect();
    let of = || urls.iter().map(String::as_str).zip(peers.iter().map(|peer| peer.stats()));
    calls(to, "peer", "of a peer", &of)?;
    let limited = urls.iter().zip(&peers).flat_map(|(url, peer)| {
        let of_peer =
            move |(limit, count)| ([("peer", url.as_str()), ("limit", PeerLimit::as_str(limit))], count);
        peer.limited().map(of_peer)
    });
    counters(
        to,
        "peer_limits_reached",
        "How often each limit on calls at a peer, and on its answers, acted.",
        limited,
    )?;
    let repeated = urls.iter().zip(&peers).map(|(url, peer)| ([("peer", url.as_str())], peer.repeated()));
    let help =
        "Frames that were sent to a peer once more, as the kept connection that they were sent over broke.";
    counters(to, "peer_frames_repeated", help, repeated)?;
    let now = Instant::now();
    let up = urls.iter().zip(&peers).filter_map(|(url, peer)| {
        let up = match peer.condition(now) {
            Condition::Ok => 1.0,
            Condition::Failing(_) | Condition::Paused(_) | Condition::NoKey => 0.0,
            Condition::Unknown | Condition::Itself => return None,
        };
        Some(([("peer", url.as_str())], up))
    });
    let help = "1 for a peer that answered last, 0 for one that fails; nothing where that is not known.";
    gauges(to, "peer_up", help, up)?;
    let seconds =
        |moment: Timestamp| moment.date.duration_since(UNIX_EPOCH).map_or(0.0, |date| date.as_secs_f64());
    let answered = urls.iter().zip(&peers).filter_map(|(url, peer)| {
        Some(([("peer", url.as_str())], seconds(peer.history().recent().answered?)))
    });
    let help = "When a peer answered last, in seconds of Unix time.";
    gauges(to, "peer_last_success_timestamp_seconds", help, answered)?;
    let waiting = urls.iter().zip(&peers);
    let waiting = waiting.map(|(url, peer)| ([("peer", url.as_str())], peer.bulkhead().waiting() as f64));
    gauges(to, "peer_calls_waiting", "Calls that wait for a peer to come back.", waiting)?;
    let offsets = peers.iter().map(|peer| peer.clock_offset_ms() as f64 / 1000.0);
    let offsets = urls.iter().zip(offsets).map(|(url, offset)| ([("peer", url.as_str())], offset));
    gauges(to, "peer_clock_offset_seconds", "What is added to this host's clock for the peer.", offsets)?;
    let known = || urls.iter().map(String::as_str).zip(&peers);
    let fetches = known().flat_map(|(url, peer)| {
        peer.info()
            .fetches()
            .map(move |(result, count)| ([("peer", url), ("result", result.as_str())], count))
    });
    counters(
        to,
        "peer_catalogue_fetches",
        "How often a peer was asked for its catalogue, by result.",
        fetches,
    )?;
    let offered = known()
        .map(|(url, peer)| ([("peer", url)], peer.offers().map_or(0.0, |catalogue| catalogue.len() as f64)));
    gauges(to, "peer_catalogue_functions", "Functions that a peer's catalogue offers.", offered)?;
    let probes = known().flat_map(|(url, peer)| {
        peer.info().probes().map(move |(result, count)| ([("peer", url), ("result", result.as_str())], count))
    });
    counters(
        to,
        "peer_probes",
        "How often a peer that failed was asked whether it is ready, by result.",
        probes,
    )
}

/// Counts, current number and times of calls, by `label`.
fn calls<'a, I: Iterator<Item = (&'a str, &'a CallStats)>>(
    to: &mut DescriptorEncoder<'_>,
    label: &str,
    which: &str,
    of: &dyn Fn() -> I,
) -> fmt::Result {
    let help = format!("Calls {which}, by outcome.");
    let outcomes = of().flat_map(|(name, stats)| {
        stats.outcomes().map(move |(outcome, count)| ([(label, name), ("outcome", outcome)], count))
    });
    counters(to, &format!("{label}_calls"), &help, outcomes)?;
    let running = of().map(|(name, stats)| ([(label, name)], stats.running() as f64));
    gauges(to, &format!("{label}_calls_running"), &format!("Calls {which} that run."), running)?;
    let (name, help) = (format!("{label}_call_seconds"), format!("How long calls {which} took."));
    let mut family = to.encode_descriptor(&name, &help, None, MetricType::Histogram)?;
    for (name, stats) in of() {
        let (sum, steps) = stats.timings().read();
        let count = steps.iter().map(|(_, count)| count).sum();
        let labels = [(label, name)];
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &steps, None)?;
    }
    Ok(())
}

fn plugins(to: &mut DescriptorEncoder<'_>, admin: &Admin) -> fmt::Result {
    let plugins = admin.service.plugins.statuses();
    let each = |value: &dyn Fn(&PluginView) -> f64| {
        plugins.iter().map(|plugin| (plugin.name.clone(), value(plugin))).collect::<Vec<_>>()
    };
    let mut show = |name, help, value: &dyn Fn(&PluginView) -> f64| {
        let values = each(value);
        gauges(to, name, help, values.iter().map(|(plugin, value)| ([("plugin", plugin.as_str())], *value)))
    };
    show("plugin_generation", "The generation that serves.", &|plugin| plugin.generation as f64)?;
    let serves = |plugin: &PluginView| f64::from(u8::from(plugin.is_published()));
    show("plugin_published", "1 while it serves.", &serves)?;
    show("plugin_mapped_bytes", "Bytes of its library that are mapped.", &|plugin| {
        plugin.mapped_bytes as f64
    })?;
    let help = "1 while what serves is not what its file holds.";
    show("plugin_differs_from_file", help, &|plugin| {
        f64::from(u8::from(plugin.differs_from_file.is_some()))
    })?;
    let help = "Retired generations that are still mapped.";
    show("plugin_zombies", help, &|plugin| plugin.zombies.len() as f64)?;
    let direct = plugins.iter().map(|plugin| ([("plugin", plugin.name.as_str())], plugin.direct_calls));
    let help = "Calls inside the generation that serves which did not pass through the host.";
    counters(to, "plugin_direct_calls", help, direct)?;
    let layers = plugins.iter().flat_map(|plugin| {
        let of = |(function, failures): &(FunctionName, u32)| (function.to_string(), u64::from(*failures));
        plugin
            .layer_failures
            .iter()
            .map(of)
            .map(|(function, failures)| (plugin.name.as_str(), function, failures))
    });
    let layers: Vec<_> = layers.collect();
    let layers = layers.iter().map(|(plugin, function, failures)| {
        ([("plugin", *plugin), ("function", function.as_str())], *failures)
    });
    let help = "How often a layer of a function of the generation that serves failed.";
    counters(to, "plugin_layer_failures", help, layers)?;
    let failed = admin.service.plugins.failures().len() as f64;
    gauges(to, "plugins_failed", "Files and plugins that are not served.", [([("", ""); 0], failed)])
}

fn counters<'a, const N: usize>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'a str, &'a str); N], u64)>,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        if N == 0 {
            family.encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
        } else {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
        }
    }
    Ok(())
}

fn gauges<'a, const N: usize>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'a str, &'a str); N], f64)>,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        if N == 0 {
            family.encode_gauge(&value)?;
        } else {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}
