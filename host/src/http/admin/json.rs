//! Plugins and their changes as the admin API shows them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{HostChange, HostRefusal};
use crate::base::FunctionName;
use crate::http::Problem;
use crate::peers::{Admission, Met, Moment, Notes, Peer};
use crate::plugins::{Change, LastFailure, PluginStatus, Progress, Step, Zombie};

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
        "zombies": status.zombies.iter().map(zombie).collect::<Vec<_>>(), "kept": status.kept,
        "published_at": rfc3339(status.published_at), "change": status.change.as_ref().map(progress_json),
        "last_failure": status.last_failure.as_ref().map(failure_json),
    })
}

/// A peer, with what it offers.
pub(super) fn peer_json(peer: &Peer) -> Value {
    let Notes { fetched, failure, probe } = peer.known().notes();
    let offers = peer.offers();
    let failure = failure.map(|(moment, reason)| json!({ "at": rfc3339(moment.date), "reason": reason }));
    let catalogue = json!({
        "asked": peer.allowed().functions, "functions": offers.as_ref().map(|catalogue| catalogue.len()),
        "host_id": offers.as_ref().and_then(|catalogue| catalogue.host_id.as_deref()),
        "fetched_at": fetched.map(|moment| rfc3339(moment.date)), "last_failure": failure,
    });
    let probe =
        probe.map(|(moment, probed)| json!({ "at": rfc3339(moment.date), "result": probed.as_str() }));
    let health = match peer.look(Instant::now()) {
        _ if peer.is_unfound() => "not_found_yet",
        Admission::Yes => "serves",
        Admission::Trial => "on_trial",
        Admission::No(_) => "left_alone",
    };
    json!({
        "found_behind": peer.found_behind().map(ToString::to_string), "health": health,
        "running": peer.stats().running(), "in_flight_max": peer.bulkhead().in_flight_max(),
        "waiting": peer.bulkhead().waiting(), "priority": peer.standing().priority, "weight": peer.standing().weight,
        "url": peer.url().to_string(), "itself": peer.is_itself(), "clock_offset_ms": peer.clock_offset_ms(),
        "has_key": peer.has_key(), "catalogue": catalogue, "last_probe": probe,
        "encrypted": peer.url().is_https(), "pinned": peer.binding().host_id.as_deref(), "bind": peer.binding().bind,
        "answered": peer.met().map(|met| met_json(&met)),
    })
}

/// Who answered at the URL of a peer last, and when.
fn met_json((moment, met): &(Moment, Met)) -> Value {
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
