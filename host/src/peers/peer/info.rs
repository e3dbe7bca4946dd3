//! What a host knows of a peer besides its calls: what it offers, and what it said of itself when it was asked.
//!
//! It outlives the peer's other parts: a reload of the config that keeps the URL keeps it. What was known last stays
//! while the peer is away.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::acquaintance::Acquaintance;
use super::{Bulkhead, Catalogue};
use crate::base::{Counter, FunctionName, Mutex, MutexGuard};

/// The knowledge of one peer.
#[derive(Debug, Default)]
pub struct Known {
    catalogue: ArcSwapOption<Catalogue>,
    notes: Mutex<Notes>,
    /// Who has answered at the URL.
    pub(super) acquaintance: Acquaintance,
    fetches: [Counter; Fetched::ALL.len()],
    probes: [Counter; Probed::ALL.len()],
    /// How many calls may run there and wait for it.
    pub(super) bulkhead: Bulkhead,
    /// The catalogue seems to be out of date.
    pub(super) is_stale: Notify,
    /// The breaker has opened.
    pub(super) has_failed: Notify,
    /// The URL leads back to this process.
    pub(super) is_home: Notify,
}

/// When things happened last.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// The catalogue was there, or as before.
    pub fetched: Option<Moment>,
    /// It was not, for that reason, which is for operators only. Nothing once it is there again.
    pub failure: Option<(Moment, String)>,
    /// The peer was asked whether it is ready.
    pub probe: Option<(Moment, Probed)>,
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For how long ago it was.
    pub at: Instant,
    /// For people.
    pub date: SystemTime,
}

/// What came of asking for a catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
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
pub enum Probed {
    /// It says so.
    Ready,
    /// It answered something else.
    NotReady,
    /// It did not answer.
    Failed,
}

impl Fetched {
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

impl Probed {
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

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Self { at: Instant::now(), date: SystemTime::now() }
    }

    /// How long ago it was, in words.
    #[must_use]
    pub fn ago(&self) -> String {
        let passed = self.at.elapsed();
        match passed.as_secs() {
            0..10 => format!("{:.1} s ago", passed.as_secs_f64()),
            seconds @ 10..600 => format!("{seconds} s ago"),
            seconds => format!("{} min ago", seconds / 60),
        }
    }
}

impl Known {
    /// What the peer offered last.
    pub(super) fn catalogue(&self) -> Option<Arc<Catalogue>> {
        self.catalogue.load_full()
    }

    /// Looks at what the peer offered last, without waiting.
    pub(super) fn with_catalogue<T>(&self, look: impl FnOnce(&Catalogue) -> Option<T>) -> Option<T> {
        self.catalogue.load().as_deref().and_then(look)
    }

    /// When things happened last.
    #[must_use]
    pub fn notes(&self) -> Notes {
        self.lock().clone()
    }

    /// How often the catalogue was asked for, by what came of it.
    pub fn fetches(&self) -> impl Iterator<Item = (Fetched, u64)> {
        Fetched::ALL.into_iter().zip(self.fetches.iter().map(Counter::get))
    }

    /// How often the peer was asked whether it is ready, by what came of it.
    pub fn probes(&self) -> impl Iterator<Item = (Probed, u64)> {
        Probed::ALL.into_iter().zip(self.probes.iter().map(Counter::get))
    }

    /// Takes a new catalogue; answers whether it has other functions than the one before.
    pub(super) fn take(&self, catalogue: Catalogue) -> bool {
        let catalogue = Arc::new(catalogue);
        let before = self.catalogue.swap(Some(Arc::clone(&catalogue)));
        self.note_fetch(Fetched::Ok);
        before.is_none_or(|before| !before.has_names_of(&catalogue))
    }

    /// The catalogue is as it was.
    pub(super) fn confirm(&self) {
        self.note_fetch(Fetched::Unchanged);
    }

    fn note_fetch(&self, fetched: Fetched) {
        self.fetches[fetched as usize].count();
        let mut notes = self.lock();
        notes.fetched = Some(Moment::now());
        notes.failure = None;
    }

    /// The catalogue could not be had: the one before stays. Answers whether that is new.
    pub(super) fn miss(&self, fetched: Fetched, reason: &str) -> bool {
        self.fetches[fetched as usize].count();
        let failure = Some((Moment::now(), reason.to_owned()));
        let before = std::mem::replace(&mut self.lock().failure, failure);
        before.is_none_or(|(_, before)| before != reason)
    }

    /// The peer was asked whether it is ready.
    pub(super) fn note_probe(&self, probed: Probed) {
        self.probes[probed as usize].count();
        self.lock().probe = Some((Moment::now(), probed));
    }

    /// The peer says that it has no such function: if it offers it, it is asked again soon.
    pub(super) fn lacks(&self, name: &FunctionName) {
        if self.with_catalogue(|catalogue| catalogue.find(name).map(|_| ())).is_some() {
            self.is_stale.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock()
    }
}
