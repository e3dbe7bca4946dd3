//! Plugins and their changes as the admin API shows them.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::{HostChange, HostRefusal};
use crate::base::{FunctionName, rfc3339};
use crate::http::Problem;
use crate::peers::{Condition, LastChecks, Met, Peer, PeerSpec, Recent, Timestamp};
use crate::plugins::{Change, Difference, Failure, LastFailure, PluginStatus, Progress, Step, Zombie};
use crate::wire::key_id_text;

pub(super) fn change_json(change: &Change) -> Value {
    json!({
        "plugin": change.plugin, "generation": change.generation, "previous": change.previous,
        "sha256": change.sha256, "steps": steps(&change.steps), "cancelled_calls": change.cancelled_calls,
    })
}

/// A reload of the whole host.
pub(super) fn host_change_json(change: &HostChange) -> Value {
    json!({
        "plugins": change.plugins.iter().map(change_json).collect::<Vec<_>>(), "unchanged": change.unchanged,
        "restart_required": change.restart_required, "warnings": change.warnings,
    })
}

/// A reload of the whole host that was refused.
pub(super) fn refusal(refused: &HostRefusal) -> Problem {
    let plugin = |(plugin, step, reason): &(String, &str, String)| json!({ "plugin": plugin, "step": step, "reason": reason });
    let plugins = refused.plugins.iter().map(plugin).collect();
    Problem::reload_failed(refused.step, &refused.detail).with("failed_plugins", plugins)
}

fn steps(steps: &[Step]) -> Vec<Value> {
    steps.iter().map(|step| json!({ "step": step.step, "ms": milliseconds(step.took) })).collect()
}

/// With three digits behind the point.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

pub(super) fn plugin_json(status: &PluginStatus) -> Value {
    let functions: Vec<&str> = status.functions.iter().map(FunctionName::as_str).collect();
    let zombie = |zombie: &Zombie| json!({ "generation": zombie.generation, "reason": zombie.reason, "mapped_bytes": zombie.mapped_bytes });
    json!({
        "name": status.name, "version": status.version, "state": status.state, "generation": status.generation,
        "sha256": status.sha256, "file": status.file, "functions": functions, "in_flight": status.in_flight,
        "direct_calls": status.direct_calls, "mapped_bytes": status.mapped_bytes,
        "warnings": status.warnings, "zombies": status.zombies.iter().map(zombie).collect::<Vec<_>>(), "kept": status.kept,
        "published_at": rfc3339(status.published_at),
        "differs_from_file": status.differs_from_file.as_ref().map(difference_json), "change": status.change.as_ref().map(progress_json),
        "last_failure": status.last_failure.as_ref().map(failure_json),
    })
}

fn difference_json(Difference { reason, since }: &Difference) -> Value {
    json!({ "reason": reason, "since": since.map(rfc3339) })
}

/// A file or plugin that is not served.
pub(super) fn not_served_json(Failure { what, step, reason, since }: &Failure) -> Value {
    json!({ "plugin": what, "step": step, "reason": reason, "since": rfc3339(*since) })
}

/// A peer, with what it offers.
pub(super) fn peer_json(peer: &Peer) -> Value {
    let LastChecks { fetched, failure, probe } = peer.info().last_checks();
    let PeerSpec { url, discovered_via, binding, rank, probes, .. } = peer.spec();
    let offers = peer.offers();
    let failure = failure.map(|(moment, reason)| json!({ "at": rfc3339(moment.date), "reason": reason }));
    let catalogue = json!({
        "asked": probes.catalogue, "functions": offers.as_ref().map(|catalogue| catalogue.len()),
        "host_id": offers.as_ref().and_then(|catalogue| catalogue.host_id.as_deref()),
        "fetched_at": fetched.map(|moment| rfc3339(moment.date)), "last_failure": failure,
    });
    let probe =
        probe.map(|(moment, probed)| json!({ "at": rfc3339(moment.date), "result": probed.as_str() }));
    let now = Instant::now();
    let condition = peer.condition(now);
    let paused_until = match condition {
        Condition::Paused(until) => Some(SystemTime::now() + until.saturating_duration_since(now)),
        _ => None,
    };
    let Recent { answered, failing, last_error, .. } = peer.history().recent();
    let last_error = last_error.map(
        |error| json!({ "at": rfc3339(error.at.date), "cause": error.cause.as_str(), "reason": error.reason }),
    );
    json!({
        "found_behind": discovered_via.as_ref().map(ToString::to_string), "health": condition.as_str(),
        "failing_since": failing.map(|failing| rfc3339(failing.since.date)),
        "failures": failing.map_or(0, |failing| failing.failures), "paused_until": paused_until.map(rfc3339),
        "last_success_at": answered.map(|moment| rfc3339(moment.date)), "last_error": last_error,
        "key_id": peer.spec().key_id().map(key_id_text),
        "running": peer.stats().running(), "in_flight_max": peer.bulkhead().in_flight_max(),
        "waiting": peer.bulkhead().waiting(), "priority": rank.priority, "weight": rank.weight,
        "url": url.to_string(), "itself": peer.is_itself(), "clock_offset_ms": peer.clock_offset_ms(),
        "has_key": peer.spec().key_id().is_some(), "catalogue": catalogue, "last_probe": probe,
        "encrypted": url.is_https(), "pinned": binding.host_id.as_deref(), "bind": binding.bind,
        "answered": peer.met().map(|met| met_json(&met)),
    })
}

/// The health of peers that discovery has not found yet.
pub(super) const PENDING: &str = "not_found_yet";

/// The peers behind a URL of which discovery has found none yet, in the form of one.
pub(super) fn pending_json(spec: &PeerSpec) -> Value {
    let PeerSpec { url, binding, rank, .. } = spec;
    json!({
        "found_behind": null, "health": PENDING, "failing_since": null, "failures": 0, "paused_until": null,
        "last_success_at": null, "last_error": null, "key_id": spec.key_id().map(key_id_text), "running": 0,
        "in_flight_max": null, "waiting": 0, "priority": rank.priority, "weight": rank.weight,
        "url": url.to_string(), "itself": false, "clock_offset_ms": 0, "has_key": spec.key_id().is_some(),
        "catalogue": {
            "asked": false, "functions": null, "host_id": null, "fetched_at": null, "last_failure": null,
        },
        "last_probe": null, "encrypted": url.is_https(), "pinned": binding.host_id.as_deref(),
        "bind": binding.bind, "answered": null,
    })
}

/// Who answered at the URL of a peer last, and when.
fn met_json((moment, met): &(Timestamp, Met)) -> Value {
    let (by, is_itself) = match met {
        Met::Host(by) => (Some(by), false),
        Met::Unbound => (None, false),
        Met::Itself => (None, true),
    };
    json!({
        "at": rfc3339(moment.date), "itself": is_itself, "bound": by.is_some(),
        "host_id": by.map(|by| &*by.host_id), "instance": by.map(|by| by.instance.to_string()),
    })
}

fn progress_json(progress: &Progress) -> Value {
    let Progress { action, step, since, done } = progress;
    json!({ "action": action, "step": step, "ms": milliseconds(since.elapsed()), "done": steps(done) })
}

fn failure_json(failure: &LastFailure) -> Value {
    json!({ "step": failure.step, "reason": failure.reason, "at": rfc3339(failure.at) })
}
