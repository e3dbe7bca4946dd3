//! Plugins, peers and functions as the admin API shows them.

use std::time::{Duration, Instant, SystemTime};

use super::state::{HostChange, HostRefusal};
use crate::api::{
    AnsweredView, ChangeView, DifferenceView, FailedChangeView, FailedFetchView, FailedPlugin, LastErrorView,
    LimitView, PeerCatalogueView, PeerView, PluginView, ProbeView, ProgressView, ReloadView, StepView,
    ZombieView,
};
use crate::base::{ConcurrencyLimit, Limiter, rfc3339};
use crate::http::response::Problem;
use crate::peers::{Condition, LastChecks, Peer, PeerSpec, Recent, Responder, Timestamp};
use crate::plugins::{Change, Difference, Failure, LastFailure, PluginStatus, Progress, StepTime, Zombie};
use crate::wire::key_id_text;

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        Self {
            plugin: change.plugin.clone(),
            generation: change.generation,
            previous: change.previous,
            sha256: change.sha256.clone(),
            steps: all(&change.steps),
            cancelled_calls: change.cancelled_calls,
        }
    }
}

impl From<HostChange> for ReloadView {
    fn from(change: HostChange) -> Self {
        Self {
            plugins: all(&change.plugins),
            unchanged: change.unchanged,
            restart_required: change.restart_required.into_iter().map(str::to_owned).collect(),
            warnings: change.warnings,
        }
    }
}

/// Returns the problem of a reload of the whole host that was refused.
pub(super) fn refusal(refused: &HostRefusal) -> Problem {
    let failed = |(plugin, step, reason): &(String, &str, String)| FailedPlugin {
        plugin: plugin.clone(),
        step: Some((*step).to_owned()),
        reason: Some(reason.clone()),
        since: None,
    };
    let failed_plugins = refused.plugins.iter().map(failed).collect();
    Problem::reload_failed(refused.step, &refused.detail, Some(failed_plugins))
}

impl From<&StepTime> for StepView {
    fn from(step: &StepTime) -> Self {
        Self { step: step.step.as_str().to_owned(), ms: milliseconds(step.took) }
    }
}

impl From<&PluginStatus> for PluginView {
    fn from(status: &PluginStatus) -> Self {
        Self {
            name: status.name.clone(),
            version: status.version.clone(),
            state: status.state.as_str().to_owned(),
            generation: status.generation,
            sha256: status.sha256.clone(),
            file: status.file.clone(),
            functions: status.functions.iter().map(ToString::to_string).collect(),
            in_flight: status.in_flight,
            direct_calls: status.direct_calls,
            mapped_bytes: status.mapped_bytes,
            warnings: status.warnings.clone(),
            zombies: all(&status.zombies),
            kept: status.kept.clone(),
            published_at: rfc3339(status.published_at),
            differs_from_file: status.differs_from_file.as_ref().map(DifferenceView::from),
            change: status.change.as_ref().map(ProgressView::from),
            last_failure: status.last_failure.as_ref().map(FailedChangeView::from),
        }
    }
}

impl From<&Zombie> for ZombieView {
    fn from(zombie: &Zombie) -> Self {
        Self {
            generation: zombie.generation,
            reason: zombie.reason.clone(),
            mapped_bytes: zombie.mapped_bytes,
        }
    }
}

impl From<&Difference> for DifferenceView {
    fn from(difference: &Difference) -> Self {
        Self { reason: difference.reason.clone(), since: difference.since.map(rfc3339) }
    }
}

impl From<&Progress> for ProgressView {
    fn from(progress: &Progress) -> Self {
        Self {
            action: progress.action.as_str().to_owned(),
            step: progress.step.as_str().to_owned(),
            ms: milliseconds(progress.since.elapsed()),
            done: all(&progress.done),
        }
    }
}

impl From<&LastFailure> for FailedChangeView {
    fn from(failure: &LastFailure) -> Self {
        Self {
            step: failure.step.as_str().to_owned(),
            reason: failure.reason.clone(),
            at: rfc3339(failure.at),
        }
    }
}

impl From<&Failure> for FailedPlugin {
    fn from(failure: &Failure) -> Self {
        Self {
            plugin: failure.what.clone(),
            step: Some(failure.step.as_str().to_owned()),
            reason: Some(failure.reason.clone()),
            since: Some(rfc3339(failure.since)),
        }
    }
}

impl LimitView {
    /// Returns the limit and its use; `None` without a limit.
    pub(super) fn of(limiter: &Limiter) -> Option<Self> {
        let ConcurrencyLimit { in_flight_max, queue_max } = limiter.limit()?;
        Some(Self { in_flight_max, queue_max, running: limiter.running(), waiting: limiter.waiting() })
    }
}

impl From<&Peer> for PeerView {
    fn from(peer: &Peer) -> Self {
        let now = Instant::now();
        let condition = peer.condition(now);
        let paused_until = match condition {
            Condition::Paused(until) => Some(SystemTime::now() + until.saturating_duration_since(now)),
            _ => None,
        };
        let Recent { answered, failing, last_error, .. } = peer.history().recent();
        let last_error = last_error.map(|error| LastErrorView {
            at: date(&error.at),
            cause: error.cause.as_str().to_owned(),
            reason: error.reason.to_string(),
        });
        let LastChecks { fetched, failure, probe } = peer.info().last_checks();
        let PeerSpec { url, discovered_via, binding, rank, probes, .. } = peer.spec();
        let offers = peer.offers();
        let catalogue = PeerCatalogueView {
            asked: probes.catalogue,
            functions: offers.as_ref().map(|catalogue| catalogue.len()),
            host_id: offers.as_ref().and_then(|catalogue| catalogue.host_id.as_deref().map(str::to_owned)),
            fetched_at: fetched.as_ref().map(date),
            last_failure: failure
                .map(|(at, reason)| FailedFetchView { at: date(&at), reason: reason.to_string() }),
        };
        Self {
            url: url.to_string(),
            found_behind: discovered_via.as_ref().map(ToString::to_string),
            health: condition.as_str().to_owned(),
            failing_since: failing.map(|failing| date(&failing.since)),
            failures: failing.map_or(0, |failing| failing.failures),
            paused_until: paused_until.map(rfc3339),
            last_success_at: answered.as_ref().map(date),
            last_error,
            key_id: peer.spec().key_id().map(key_id_text),
            has_key: peer.spec().key_id().is_some(),
            running: peer.stats().running(),
            waiting: peer.bulkhead().waiting(),
            in_flight_max: peer.bulkhead().in_flight_max(),
            priority: rank.priority,
            weight: rank.weight,
            itself: peer.is_itself(),
            clock_offset_ms: peer.clock_offset_ms(),
            catalogue,
            last_probe: probe
                .map(|(at, probed)| ProbeView { at: date(&at), result: probed.as_str().to_owned() }),
            encrypted: url.is_https(),
            pinned: binding.host_id.as_deref().map(str::to_owned),
            bind: binding.bind,
            answered: peer.last_responder().map(|(at, met)| answered_view(&at, &met)),
        }
    }
}

/// The health of peers that discovery has not found yet.
pub(super) const PENDING: &str = "not_found_yet";

/// Returns the peers behind a URL of which discovery has found none yet, in the form of one.
pub(super) fn pending_view(spec: &PeerSpec) -> PeerView {
    let PeerSpec { url, binding, rank, .. } = spec;
    PeerView {
        url: url.to_string(),
        health: PENDING.to_owned(),
        key_id: spec.key_id().map(key_id_text),
        has_key: spec.key_id().is_some(),
        priority: rank.priority,
        weight: rank.weight,
        encrypted: url.is_https(),
        pinned: binding.host_id.as_deref().map(str::to_owned),
        bind: binding.bind,
        ..PeerView::default()
    }
}

fn answered_view(at: &Timestamp, met: &Responder) -> AnsweredView {
    let (by, itself) = match met {
        Responder::Host(by) => (Some(by), false),
        Responder::Unbound => (None, false),
        Responder::Itself => (None, true),
    };
    AnsweredView {
        at: date(at),
        itself,
        bound: by.is_some(),
        host_id: by.map(|by| by.host_id.to_string()),
        instance: by.map(|by| by.instance.to_string()),
    }
}

fn date(moment: &Timestamp) -> String {
    rfc3339(moment.date)
}

/// Rounds to three digits behind the point.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn all<'a, T, V: From<&'a T>>(shown: &'a [T]) -> Vec<V> {
    shown.iter().map(V::from).collect()
}
