//! What a host knows of a peer besides its calls: what it offers, and what it said of itself when it was asked.
//!
//! It outlives the peer's other parts: a reload of the config that keeps the URL keeps it. What was known last stays
//! while the peer is away.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::hello::Acquaintance;
use crate::base::{Counter, FunctionName, Mutex, MutexGuard};
use crate::peers::{Bulkhead, Catalogue, Timestamp};

/// The knowledge of one peer.
#[derive(Debug, Default)]
pub struct PeerInfo {
    catalogue: ArcSwapOption<Catalogue>,
    checks: Mutex<LastChecks>,
    /// Who has answered at the URL.
    pub(in crate::peers) acquaintance: Acquaintance,
    fetches: [Counter; FetchResult::ALL.len()],
    probes: [Counter; ProbeResult::ALL.len()],
    /// How many calls may run there and wait for it.
    pub(in crate::peers) bulkhead: Bulkhead,
    /// The catalogue seems to be out of date.
    pub(in crate::peers) is_stale: Notify,
    /// The breaker has opened.
    pub(in crate::peers) has_failed: Notify,
    /// The URL leads back to this process.
    pub(in crate::peers) is_home: Notify,
}

/// When things happened last.
#[derive(Debug, Clone, Default)]
pub struct LastChecks {
    /// The catalogue was there, or as before.
    pub fetched: Option<Timestamp>,
    /// It was not, for that reason, which is for operators only. Nothing once it is there again.
    pub failure: Option<(Timestamp, String)>,
    /// The peer was asked whether it is ready.
    pub probe: Option<(Timestamp, ProbeResult)>,
}

/// What came of asking for a catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchResult {
    /// A new one is in force.
    Ok,
    /// It is as it was.
    Unchanged,
    /// There was no answer, or one of another status.
    Failed,
    /// It was larger than is taken.
    TooLarge,
    /// It was no catalogue.
    Malformed,
}

/// What came of asking whether a peer is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeResult {
    /// It says so.
    Ready,
    /// It answered something else.
    NotReady,
    /// It did not answer.
    Failed,
}

impl FetchResult {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Unchanged, Self::Failed, Self::TooLarge, Self::Malformed];

    /// Its name in `/metrics`.
    #[must_use]
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
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
            Self::Failed => "failed",
        }
    }
}

impl PeerInfo {
    /// What the peer offered last.
    pub(in crate::peers) fn catalogue(&self) -> Option<Arc<Catalogue>> {
        self.catalogue.load_full()
    }

    /// Looks at what the peer offered last, without waiting.
    pub(in crate::peers) fn with_catalogue<T>(
        &self,
        look: impl FnOnce(&Catalogue) -> Option<T>,
    ) -> Option<T> {
        self.catalogue.load().as_deref().and_then(look)
    }

    /// When things happened last.
    #[must_use]
    pub fn last_checks(&self) -> LastChecks {
        self.lock().clone()
    }

    /// How often the catalogue was asked for, by what came of it.
    pub fn fetches(&self) -> impl Iterator<Item = (FetchResult, u64)> {
        FetchResult::ALL.into_iter().zip(self.fetches.iter().map(Counter::get))
    }

    /// How often the peer was asked whether it is ready, by what came of it.
    pub fn probes(&self) -> impl Iterator<Item = (ProbeResult, u64)> {
        ProbeResult::ALL.into_iter().zip(self.probes.iter().map(Counter::get))
    }

    /// Takes a new catalogue; answers whether it has other functions than the one before.
    pub(in crate::peers) fn take(&self, catalogue: Catalogue) -> bool {
        let catalogue = Arc::new(catalogue);
        let before = self.catalogue.swap(Some(Arc::clone(&catalogue)));
        self.note_fetch(FetchResult::Ok);
        before.is_none_or(|before| !before.has_names_of(&catalogue))
    }

    /// The catalogue is as it was.
    pub(in crate::peers) fn confirm(&self) {
        self.note_fetch(FetchResult::Unchanged);
    }

    fn note_fetch(&self, fetched: FetchResult) {
        self.fetches[fetched as usize].count();
        let mut checks = self.lock();
        checks.fetched = Some(Timestamp::now());
        checks.failure = None;
    }

    /// The catalogue could not be had: the one before stays. Answers whether that is new.
    pub(in crate::peers) fn miss(&self, fetched: FetchResult, reason: &str) -> bool {
        self.fetches[fetched as usize].count();
        let failure = Some((Timestamp::now(), reason.to_owned()));
        let before = std::mem::replace(&mut self.lock().failure, failure);
        before.is_none_or(|(_, before)| before != reason)
    }

    /// The peer was asked whether it is ready.
    pub(in crate::peers) fn note_probe(&self, probed: ProbeResult) {
        self.probes[probed as usize].count();
        self.lock().probe = Some((Timestamp::now(), probed));
    }

    /// The peer says that it has no such function: if it offers it, it is asked again soon.
    pub(in crate::peers) fn lacks(&self, name: &FunctionName) {
        if self.with_catalogue(|catalogue| catalogue.find(name).map(|_| ())).is_some() {
            self.is_stale.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, LastChecks> {
        self.checks.lock()
    }
}
