//! `GET /metrics`: everything that is counted, as OpenMetrics for clients that ask for it, or else in the older text format
//! of Prometheus.

mod plain;

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::header::VARY;
use http::{HeaderMap, HeaderValue};
use mediatype::{MediaType, Name, ReadParams};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::state::Admin;
use crate::base::{ErrorCode, LOG_LINES_DROPPED, Limiter};
use crate::functions::CallStats;
use crate::http::request::accept;
use crate::http::response::{Problem, Response, with_body};
use crate::http::routes::health;
use crate::peers::{Condition, Peer};
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
    let shown =
        encoded.await?.map_err(|_| Problem::of_code(ErrorCode::Internal, "the metrics cannot be written"))?;
    let (content_type, shown) = match wants_openmetrics(headers) {
        true => (OPENMETRICS, shown),
        false => (PLAIN, plain::of_openmetrics(&shown)),
    };
    let mut response = with_body(content_type, shown);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
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
    gauges(to, "build_info", "What runs.", [([("version", env!("CARGO_PKG_VERSION"))], 1.0)])?;
    let uptime = admin.service.clock.uptime().as_secs_f64();
    gauge(to, "uptime_seconds", "How long the host has been running.", uptime)?;
    let help = "Lines of the log that its reader did not take, or that the system could not write.";
    counter(to, "log_lines_dropped", help, LOG_LINES_DROPPED.get())?;
    let (successful, last) = admin.service.in_force.last();
    let help = "1 if the last reload of the config was done, 0 if it was refused; the start counts.";
    gauge(to, "config_last_reload_successful", help, f64::from(successful))?;
    let help = "When the last reload of the config was done, in seconds since 1970; the start counts.";
    gauge(to, "config_last_reload_success_timestamp_seconds", help, unix_seconds(last))?;
    if let Some(Process { resident_bytes, open_files, threads }) = Process::read() {
        gauge(to, "resident_memory_bytes", "Resident memory.", resident_bytes)?;
        gauge(to, "open_files", "Open descriptors.", open_files)?;
        gauge(to, "threads", "Threads, including threads of plugins.", threads)?;
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
    let (service, meters, router) = (&admin.service, &admin.service.meters, &admin.service.router);
    let policy = service.policy.load();
    gauge(to, "connections", "Open connections.", meters.open_connections() as f64)?;
    counter(to, "connections_accepted", "Accepted connections.", meters.accepted.get())?;
    let help = "Running calls from outside, except calls that wait for a peer.";
    gauge(to, "calls_in_flight", help, policy.admission.running() as f64)?;
    gauge(to, "calls_queued", "Waiting calls from outside.", policy.admission.waiting() as f64)?;
    let help = "Memory of the bodies of requests and unread responses, out of server.body_memory_max.";
    gauge(to, "body_memory_bytes", help, service.body_memory.taken() as f64)?;
    let refused = meters.refused().map(|(code, count)| ([("code", code.as_str())], count));
    counters(to, "requests_refused", "Requests that were answered with an error, by code.", refused)?;
    let rejected =
        router.table().limits().map(|of| of.iter().map(|(_, limiter)| limiter.rejected()).sum::<u64>());
    let of_calls = ["function", "plugin"].into_iter().zip(rejected);
    let of_shares = [("in_flight_per_function", router.table().shares_rejected())];
    let limited = meters.limited().chain(of_calls).chain(of_shares);
    let limited = limited.map(|(limit, count)| ([("limit", limit)], count));
    counters(to, "limits_reached", "How often each limit acted.", limited)?;
    let repeats = router.outcomes();
    let (remembered, bytes) = repeats.size();
    let help = "Calls with idempotency keys that are remembered.";
    gauge(to, "idempotency_remembered", help, remembered as f64)?;
    gauge(to, "idempotency_memory_bytes", "Memory of remembered calls.", bytes as f64)?;
    let help = "Outcomes that were answered with the outcome of the first call.";
    counter(to, "idempotency_repeats_answered", help, repeats.answered.get())?;
    let help = "Outcomes that were not kept, as they were too large or the share of their caller was full.";
    counter(to, "idempotency_forgotten", help, repeats.unkept.get())?;
    let help = "Calls that were refused, as the share of their caller of that memory was full.";
    counter(to, "idempotency_refused", help, repeats.refused.get())?;
    let window = service.replays.window(service.clock.now_ms()).as_secs_f64();
    let help = "Maximum age of a sealed frame: less than configured while the memory is full.";
    gauge(to, "replay_window_seconds", help, window)?;
    let remembered = service.replays.remembered() as f64;
    gauge(to, "replay_frames_remembered", "Sealed frames that are remembered.", remembered)
}

fn functions(to: &mut DescriptorEncoder<'_>, admin: &Admin) -> fmt::Result {
    let stats = admin.service.router.table().stats();
    let all = stats.iter().map(|(name, stats)| (name.as_str(), &**stats)).collect();
    Labelled { to, label: "function", all }.calls("that ran here", |stats| stats)?;
    let held = functions_that_held_workers();
    let held = held.iter().map(|(name, held)| ([("function", name.as_str())], *held));
    let help = "How often a function held a worker thread for more than 100 ms without a pause.";
    counters(to, "function_held_worker", help, held)?;
    let help = "Worker threads that functions have held for more than 100 ms.";
    gauge(to, "workers_held", help, workers_held() as f64)
}

/// Of functions and plugins that have a limit.
fn limits(to: &mut DescriptorEncoder<'_>, admin: &Admin) -> fmt::Result {
    for (label, limiters) in ["function", "plugin"].into_iter().zip(admin.service.router.table().limits()) {
        let all = limiters.iter().map(|(name, limiter)| (name.as_str(), &**limiter)).collect();
        let mut limits = Labelled { to, label, all };
        let help = "Calls that have a place under the limit.";
        limits.gauges(&format!("{label}_limit_running"), help, |limit| Some(limit.running() as f64))?;
        let help = "Calls that wait for a place.";
        limits.gauges(&format!("{label}_limit_waiting"), help, |limit| Some(limit.waiting() as f64))?;
        let help = "Calls that got no place: the queue was full, or their time ran out in it.";
        limits.counters(&format!("{label}_limit_reached"), help, Limiter::rejected)?;
    }
    Ok(())
}

fn peers(to: &mut DescriptorEncoder<'_>, admin: &Admin) -> fmt::Result {
    let peers = admin.service.router.peers();
    let urls: Vec<String> = peers.iter().map(|peer| peer.url().to_string()).collect();
    let all = urls.iter().map(String::as_str).zip(peers.iter().map(|peer| &**peer)).collect();
    let mut peers = Labelled { to, label: "peer", all };
    peers.calls("of a peer", Peer::stats)?;
    let help = "How often each limit on calls at a peer, and on its answers, acted.";
    peers.counters_by("peer_limits_reached", help, "limit", |peer| {
        peer.limited().map(|(limit, count)| (limit.as_str(), count))
    })?;
    let help =
        "Frames that were sent to a peer once more, as the kept connection that they were sent over broke.";
    peers.counters("peer_frames_repeated", help, Peer::repeated)?;
    let now = Instant::now();
    let help = "1 for a peer that answered last, 0 for one that fails; nothing where that is not known.";
    peers.gauges("peer_up", help, |peer| match peer.condition(now) {
        Condition::Ok => Some(1.0),
        Condition::Failing(_) | Condition::Paused(_) | Condition::NoKey => Some(0.0),
        Condition::Unknown | Condition::Itself => None,
    })?;
    let help = "When a peer answered last, in seconds of Unix time.";
    peers.gauges("peer_last_success_timestamp_seconds", help, |peer| {
        Some(unix_seconds(peer.history().recent().answered?.date))
    })?;
    let help = "Calls that wait for a peer to come back.";
    peers.gauges("peer_calls_waiting", help, |peer| Some(peer.bulkhead().waiting() as f64))?;
    let help = "What is added to this host's clock for the peer.";
    peers.gauges("peer_clock_offset_seconds", help, |peer| Some(peer.clock_offset_ms() as f64 / 1000.0))?;
    let help = "How often a peer was asked for its catalogue, by result.";
    peers.counters_by("peer_catalogue_fetches", help, "result", |peer| {
        peer.info().fetches().map(|(result, count)| (result.as_str(), count))
    })?;
    let help = "Functions that a peer's catalogue offers.";
    peers.gauges("peer_catalogue_functions", help, |peer| {
        Some(peer.offers().map_or(0.0, |catalogue| catalogue.len() as f64))
    })?;
    let help = "How often a peer that failed was asked whether it is ready, by result.";
    peers.counters_by("peer_probes", help, "result", |peer| {
        peer.info().probes().map(|(result, count)| (result.as_str(), count))
    })
}

fn plugins(to: &mut DescriptorEncoder<'_>, admin: &Admin) -> fmt::Result {
    let plugins = admin.service.plugins.statuses();
    let all = plugins.iter().map(|plugin| (plugin.name.as_str(), plugin)).collect();
    let mut plugins = Labelled { to, label: "plugin", all };
    let help = "The generation that serves.";
    plugins.gauges("plugin_generation", help, |plugin| Some(plugin.generation as f64))?;
    let help = "1 while it serves.";
    plugins.gauges("plugin_published", help, |plugin| Some(f64::from(plugin.is_published())))?;
    let help = "Bytes of its library that are mapped.";
    plugins.gauges("plugin_mapped_bytes", help, |plugin| Some(plugin.mapped_bytes as f64))?;
    let help = "1 while what serves is not what its file holds.";
    plugins.gauges("plugin_differs_from_file", help, |plugin| {
        Some(f64::from(plugin.differs_from_file.is_some()))
    })?;
    let help = "Retired generations that are still mapped.";
    plugins.gauges("plugin_zombies", help, |plugin| Some(plugin.zombies.len() as f64))?;
    let help = "Calls inside the generation that serves which did not pass through the host.";
    plugins.counters("plugin_direct_calls", help, |plugin| plugin.direct_calls)?;
    let help = "How often a layer of a function of the generation that serves failed.";
    plugins.counters_by("plugin_layer_failures", help, "function", |plugin| {
        plugin.layer_failures.iter().map(|(function, failures)| (function.as_str(), u64::from(*failures)))
    })?;
    let failed = admin.service.plugins.failures().len() as f64;
    gauge(to, "plugins_failed", "Files and plugins that are not served.", failed)
}

/// Writes metrics of all things of one kind, which a label names.
struct Labelled<'a, 'e, T> {
    to: &'a mut DescriptorEncoder<'e>,
    label: &'static str,
    all: Vec<(&'a str, &'a T)>,
}

impl<'a, T> Labelled<'a, '_, T> {
    /// Writes a gauge of each thing that has the value.
    fn gauges(&mut self, name: &str, help: &str, value: impl Fn(&T) -> Option<f64>) -> fmt::Result {
        let all = self.all.iter();
        let values = all.filter_map(|&(of, thing)| Some(([(self.label, of)], value(thing)?)));
        gauges(self.to, name, help, values)
    }

    /// Writes a counter of each thing.
    fn counters(&mut self, name: &str, help: &str, count: impl Fn(&T) -> u64) -> fmt::Result {
        let counts = self.all.iter().map(|&(of, thing)| ([(self.label, of)], count(thing)));
        counters(self.to, name, help, counts)
    }

    /// Writes several counters of each thing, which the label `by` tells apart.
    fn counters_by<'v, I: Iterator<Item = (&'v str, u64)>>(
        &mut self,
        name: &str,
        help: &str,
        by: &str,
        counts: impl Fn(&'a T) -> I,
    ) -> fmt::Result {
        let label = self.label;
        let counts = self.all.iter().flat_map(|&(of, thing)| {
            counts(thing).map(move |(value, count)| ([(label, of), (by, value)], count))
        });
        counters(self.to, name, help, counts)
    }

    /// Writes counts, current number and times of calls.
    fn calls(&mut self, which: &str, stats: impl Fn(&'a T) -> &'a CallStats) -> fmt::Result {
        let label = self.label;
        let (name, help) = (format!("{label}_calls"), format!("Calls {which}, by outcome."));
        self.counters_by(&name, &help, "outcome", |thing| stats(thing).outcomes())?;
        let (name, help) = (format!("{label}_calls_running"), format!("Calls {which} that run."));
        let running = self.all.iter().map(|&(of, thing)| ([(label, of)], stats(thing).running() as f64));
        gauges(self.to, &name, &help, running)?;
        let (name, help) = (format!("{label}_call_seconds"), format!("How long calls {which} took."));
        let mut family = self.to.encode_descriptor(&name, &help, None, MetricType::Histogram)?;
        for &(of, thing) in &self.all {
            let (sum, steps) = stats(thing).timings().read();
            let count = steps.iter().map(|(_, count)| count).sum();
            let labels = [(label, of)];
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &steps, None)?;
        }
        Ok(())
    }
}

fn unix_seconds(date: SystemTime) -> f64 {
    date.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    counters(to, name, help, [([], value)])
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    gauges(to, name, help, [([], value)])
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
