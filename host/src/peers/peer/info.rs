//! The knowledge of a peer besides its calls: its catalogue, and its answers to probes.
//!
//! It outlives the peer's other parts: a reload that keeps the URL keeps it. The last catalogue stays while the peer is
//! away.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::hello::Responders;
use crate::base::{Counter, FunctionName, Mutex, MutexGuard};
use crate::peers::{Bulkhead, Catalogue, Timestamp};

/// The knowledge of one peer.
#[derive(Debug, Default)]
pub struct PeerInfo {
    catalogue: ArcSwapOption<Catalogue>,
    checks: Mutex<LastChecks>,
    /// The hosts that have answered at the URL.
    pub(in crate::peers) responders: Responders,
    fetches: [Counter; FetchResult::ALL.len()],
    probes: [Counter; ProbeResult::ALL.len()],
    /// The limits on calls that run there and that wait for it.
    pub(in crate::peers) bulkhead: Bulkhead,
    /// Notified when the catalogue seems to be out of date.
    pub(in crate::peers) is_stale: Notify,
    /// Notified when the breaker has opened.
    pub(in crate::peers) has_failed: Notify,
    /// Notified when the URL leads back to this process.
    pub(in crate::peers) is_home: Notify,
}

/// The last results of requests besides calls.
#[derive(Debug, Clone, Default)]
pub struct LastChecks {
    /// The last fetch that returned a catalogue, new or unchanged.
    pub fetched: Option<Timestamp>,
    /// The last failed fetch and its reason, which is for operators only; nothing after a success.
    pub failure: Option<(Timestamp, String)>,
    /// The last probe of its readiness.
    pub probe: Option<(Timestamp, ProbeResult)>,
}

/// The result of fetching a catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchResult {
    /// A new catalogue.
    Ok,
    /// It is unchanged.
    Unchanged,
    /// No answer, or one of another status.
    Failed,
    /// It exceeds a limit.
    TooLarge,
    /// The answer was not a catalogue.
    Malformed,
}

/// The result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeResult {
    /// It says that it is ready.
    Ready,
    /// It gave any other answer.
    NotReady,
    /// It did not answer.
    Failed,
}

impl FetchResult {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Unchanged, Self::Failed, Self::TooLarge, Self::Malformed];

    /// Its name in `/metrics`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
        }
    }
}

impl ProbeResult {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ready, Self::NotReady, Self::Failed];

    /// Its name in `/metrics`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
            Self::Failed => "failed",
        }
    }
}

impl PeerInfo {
    /// Returns the last catalogue.
    pub(in crate::peers) fn catalogue(&self) -> Option<Arc<Catalogue>> {
        self.catalogue.load_full()
    }

    /// Reads the last catalogue without waiting.
    pub(in crate::peers) fn with_catalogue<T>(
        &self,
        look: impl FnOnce(&Catalogue) -> Option<T>,
    ) -> Option<T> {
        self.catalogue.load().as_deref().and_then(look)
    }

    /// Returns the last results of requests besides calls.
    pub fn last_checks(&self) -> LastChecks {
        self.lock().clone()
    }

    /// The number of fetches by result.
    pub fn fetches(&self) -> impl Iterator<Item = (FetchResult, u64)> {
        FetchResult::ALL.into_iter().zip(self.fetches.iter().map(Counter::get))
    }

    /// The number of probes by result.
    pub fn probes(&self) -> impl Iterator<Item = (ProbeResult, u64)> {
        ProbeResult::ALL.into_iter().zip(self.probes.iter().map(Counter::get))
    }

    /// Takes a new catalogue, and returns true if its functions are others than before.
    pub(in crate::peers) fn take(&self, catalogue: Catalogue) -> bool {
        let catalogue = Arc::new(catalogue);
        let before = self.catalogue.swap(Some(Arc::clone(&catalogue)));
        self.note_fetch(FetchResult::Ok);
        before.is_none_or(|before| !before.has_names_of(&catalogue))
    }

    /// Records that the catalogue is unchanged.
    pub(in crate::peers) fn confirm(&self) {
        self.note_fetch(FetchResult::Unchanged);
    }

    fn note_fetch(&self, fetched: FetchResult) {
        self.fetches[fetched as usize].count();
        let mut checks = self.lock();
        checks.fetched = Some(Timestamp::now());
        checks.failure = None;
    }

    /// Records a failed fetch; the last catalogue stays. Returns true if the reason changed.
    pub(in crate::peers) fn miss(&self, fetched: FetchResult, reason: &str) -> bool {
        self.fetches[fetched as usize].count();
        let failure = Some((Timestamp::now(), reason.to_owned()));
        let before = std::mem::replace(&mut self.lock().failure, failure);
        before.is_none_or(|(_, before)| before != reason)
    }

    /// Records a probe.
    pub(in crate::peers) fn note_probe(&self, probed: ProbeResult) {
        self.probes[probed as usize].count();
        self.lock().probe = Some((Timestamp::now(), probed));
    }

    /// Records that the peer lacks a function: if its catalogue offers it, it is fetched again soon.
    pub(in crate::peers) fn lacks(&self, name: &FunctionName) {
        if self.with_catalogue(|catalogue| catalogue.find(name).map(|_| ())).is_some() {
            self.is_stale.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, LastChecks> {
        self.checks.lock()
    }
}
