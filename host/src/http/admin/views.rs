//! Peers and limits as the admin API shows them.

use std::time::{Instant, SystemTime};

use crate::api::{
    AnsweredView, FailedFetchView, LastErrorView, LimitView, PeerCatalogueView, PeerView, ProbeView,
};
use crate::base::{ConcurrencyLimit, Limiter, rfc3339};
use crate::peers::{Condition, LastChecks, Peer, PeerSpec, Recent, Responder, Timestamp};
use crate::wire::key_id_text;

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
        let offers = peer.offers();
        let catalogue = PeerCatalogueView {
            asked: peer.spec().probes.catalogue,
            functions: offers.as_ref().map(|catalogue| catalogue.len()),
            host_id: offers.as_ref().and_then(|catalogue| catalogue.host_id.as_deref().map(str::to_owned)),
            fetched_at: fetched.as_ref().map(date),
            last_failure: failure
                .map(|(at, reason)| FailedFetchView { at: date(&at), reason: reason.to_string() }),
        };
        Self {
            found_behind: peer.spec().discovered_via.as_ref().map(ToString::to_string),
            health: condition.as_str().to_owned(),
            failing_since: failing.map(|failing| date(&failing.since)),
            failures: failing.map_or(0, |failing| failing.failures),
            paused_until: paused_until.map(rfc3339),
            last_success_at: answered.as_ref().map(date),
            last_error,
            running: peer.stats().running(),
            waiting: peer.bulkhead().waiting(),
            in_flight_max: peer.bulkhead().in_flight_max(),
            itself: peer.is_itself(),
            clock_offset_ms: peer.clock_offset_ms(),
            catalogue,
            last_probe: probe
                .map(|(at, probed)| ProbeView { at: date(&at), result: probed.as_str().to_owned() }),
            answered: peer.last_responder().map(|(at, met)| answered_view(&at, &met)),
            ..pending_view(peer.spec())
        }
    }
}

/// The health of peers that discovery has not found yet.
pub(super) const PENDING: &str = "not_found_yet";

/// Returns the peers behind a URL of which discovery has found none yet, in the form of one: what the config says.
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
    let by = if let Responder::Host(by) = met { Some(by) } else { None };
    AnsweredView {
        at: date(at),
        itself: matches!(met, Responder::Itself),
        bound: by.is_some(),
        host_id: by.map(|by| by.host_id.to_string()),
        instance: by.map(|by| by.instance.to_string()),
    }
}

fn date(moment: &Timestamp) -> String {
    rfc3339(moment.date)
}
