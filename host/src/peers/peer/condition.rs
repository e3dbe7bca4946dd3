//! The condition of a peer as far as this host knows, for JSON and in words.

use std::time::Instant;

use super::{Peer, PeerSpec, ProbeResult, Rank};
use crate::base::{ErrorCode, Executed, Failure, rfc3339};
use crate::peers::{BreakerState, Cause, History, LastError, Reached, Recent, Timestamp};
use crate::wire::key_id_text;

/// The condition of a peer.
#[derive(Debug, Clone, Copy)]
pub enum Condition {
    /// This host has no key that seals calls to it.
    NoKey,
    /// It is this very host.
    Itself,
    /// It has neither answered nor failed yet.
    Unknown,
    /// It answered last.
    Ok,
    /// It has failed since this moment.
    Failing(Timestamp),
    /// Its breaker is open until this time.
    Paused(Instant),
}

impl Condition {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::Itself => "itself",
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Failing(_) => "failing",
            Self::Paused(_) => "paused",
        }
    }
}

impl Peer {
    /// Returns its condition.
    pub fn condition(&self, now: Instant) -> Condition {
        if self.is_itself() {
            return Condition::Itself;
        }
        if self.spec.key.is_none() {
            return Condition::NoKey;
        }
        let Recent { answered, failing, .. } = self.history.recent();
        match (self.breaker_state(now), failing) {
            (BreakerState::Open(until), _) => Condition::Paused(until),
            (_, Some(failing)) => Condition::Failing(failing.since),
            (_, None) if answered.is_some() => Condition::Ok,
            (_, None) => Condition::Unknown,
        }
    }

    /// Its last answers and failures.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Records a failure that counts against it.
    pub(super) fn record_in_history(&self, cause: Cause, failure: &Failure) {
        let reached = match cause {
            Cause::NotConnected | Cause::Refused | Cause::CertificateRefused => Reached::Connection,
            _ if failure.executed == Executed::No => Reached::Hello,
            _ => Reached::Call,
        };
        self.history.record_failure(reached, cause, self.reason(cause, failure), Timestamp::now());
    }

    /// Records a sealed answer without a result: the peer is there, and may say what it lacks.
    pub(super) fn note_refusal(&self, failure: &Failure) {
        let now = Timestamp::now();
        self.history.record_answer(Reached::Call, now);
        let is_of_the_peer = matches!(
            failure.code,
            ErrorCode::Unavailable
                | ErrorCode::Overloaded
                | ErrorCode::Unauthenticated
                | ErrorCode::PermissionDenied
                | ErrorCode::Incompatible
                | ErrorCode::Replayed
                | ErrorCode::Misdirected
        );
        if is_of_the_peer && failure.executed != Executed::Yes {
            let cause = Cause::Told(failure.code);
            self.history.record_error(cause, format!("it {}: {}", cause.predicate(), failure.message), now);
        }
    }

    /// Returns a failure in words for operators.
    pub(super) fn reason(&self, cause: Cause, failure: &Failure) -> String {
        match (cause, &self.spec.key) {
            (Cause::Unsealed(401), Some(key)) => {
                format!("it does not accept this host's key {} (HTTP status 401)", key_id_text(key.id()))
            }
            _ => failure.message.clone(),
        }
    }

    /// Describes it in words.
    pub fn describe(&self) -> String {
        let now = Instant::now();
        let PeerSpec { discovered_via, rank: Rank { priority, weight }, .. } = &self.spec;
        let found = discovered_via.as_ref().map(|url| format!("discovered via {url}, "));
        let (running, waiting) = (self.bulkhead().running(), self.bulkhead().waiting());
        let most = self.bulkhead().in_flight_max().map(|most| format!(" of at most {most}"));
        format!(
            "{}{}{}; {running}{} calls run there, {waiting} wait for it to come back{}, priority {priority}, weight \
             {weight}; {}",
            found.unwrap_or_default(),
            self.describe_condition(now),
            self.describe_return(now),
            most.unwrap_or_default(),
            self.latency.describe(now),
            self.describe_way()
        )
    }

    /// Describes whether it answers, since when, and why not.
    fn describe_condition(&self, now: Instant) -> String {
        let Recent { answered, failing, last_error, .. } = self.history.recent();
        let last =
            last_error.map(|LastError { at, reason, .. }| format!(", the last {}: {reason}", at.ago()));
        let last = last.unwrap_or_default();
        let since = failing.map(|failing| {
            let failures = if failing.failures == 1 { "failure" } else { "failures" };
            format!("{} {failures} since {}", failing.failures, rfc3339(failing.since.date))
        });
        let since = since.unwrap_or_else(|| "failures".to_owned());
        match self.condition(now) {
            Condition::Itself => "it is this very host".to_owned(),
            Condition::NoKey => {
                "this host has no key that seals calls to it (plugins.proxy.auth.rules)".to_owned()
            }
            Condition::Unknown => "whether it answers is not known yet".to_owned(),
            Condition::Ok => {
                format!("ok, last success {}", answered.map(|moment| moment.ago()).unwrap_or_default())
            }
            Condition::Failing(_) => format!("failing: {since}{last}"),
            Condition::Paused(until) => {
                let left = until.saturating_duration_since(now).as_millis();
                format!("paused for another {left} ms after {since}{last}")
            }
        }
    }

    /// Describes what is known of its recovery while it is paused or waits for a trial.
    fn describe_return(&self, now: Instant) -> String {
        let state = self.breaker_state(now);
        if state == BreakerState::Closed || self.is_itself() {
            return String::new();
        }
        let notes = self.info.last_checks();
        let probed = notes.probe.map(|(moment, probed)| {
            let said = match probed {
                ProbeResult::Ready => "said that it is ready",
                ProbeResult::NotReady => "did not say that it is ready",
                ProbeResult::Failed => "gave no answer",
            };
            format!("; asked whether it is ready {}, it {said}", moment.ago())
        });
        let trial =
            if state == BreakerState::HalfOpen { "; the next call finds out whether it is back" } else { "" };
        probed.unwrap_or_default() + trial
    }
}
