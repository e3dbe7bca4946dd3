//! What is known of calls that carry an idempotency key: that one runs, how one ended, or that nobody knows.
//!
//! Bounded in time and memory. Times are passed in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::base::{Caller, Counter, ErrorCode, Failure, HostId, Invocation, Outcome};
use crate::wire;

/// What an entry takes besides the bytes of its outcome, about.
const ENTRY_BYTES: usize = 512;
/// The part of the memory that one outcome may take.
const OUTCOME_PART: usize = 8;

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepeatBounds {
    /// How long an outcome is kept; zero: idempotency keys are passed on, and nothing is kept here.
    pub keep: Duration,
    /// What all outcomes together may take; the oldest ones go first.
    pub bytes_max: usize,
}

/// The memory of one host.
#[derive(Debug, Default)]
pub struct Repeats {
    state: Mutex<State>,
    /// Repeats that were answered without running anything.
    pub answered: Counter,
    /// Outcomes that were forgotten before their time, because the memory was full.
    pub forgotten: Counter,
}

#[derive(Debug, Default)]
struct State {
    bounds: RepeatBounds,
    entries: HashMap<CallId, Entry>,
    /// Entries whose call has ended, oldest first.
    ended: VecDeque<(Instant, CallId)>,
    /// What all entries take.
    bytes: usize,
}

/// Who asks for which function with which key, as a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CallId([u8; 32]);

#[derive(Debug)]
struct Entry {
    /// Digest of the arguments.
    arguments: [u8; 32],
    bytes: usize,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    /// Those who repeat it wait for the same outcome. Perhaps a peer has it, and what it does will not be known.
    Runs { outcome: watch::Receiver<Option<Told>>, lost: Option<Lost> },
    /// This is what came of it.
    Ended(Told),
    /// It was sent to the peer of that authority, and nobody knows what came of it: a repeat must not go anywhere else.
    Lost(Arc<str>),
}

/// A call of which nobody knows whether a peer ran it.
#[derive(Debug, Clone)]
enum Lost {
    /// The peer of that authority.
    On(Arc<str>),
    /// Some peer; another one may run it as well.
    Harmlessly,
}

/// How a call ended, and the host that ran it, if it was another one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) outcome: Outcome,
    pub(super) served_by: Option<HostId>,
}

impl From<Outcome> for Told {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, served_by: None }
    }
}

/// What a call with an idempotency key finds.
#[derive(Debug)]
pub(super) enum Found {
    /// It is the first one: it runs. An earlier one may have run on the peer of that authority, and nowhere else.
    First(Running, Option<Arc<str>>),
    /// The first one runs.
    Runs(watch::Receiver<Option<Told>>),
    /// The first one ended, or this one is refused.
    Ended(Told),
}

impl Found {
    fn refused(code: ErrorCode, text: &str) -> Self {
        Self::Ended(Err(Box::new(Failure::not_executed(code, text))).into())
    }
}

/// A call that runs; it must be told how it ended.
#[derive(Debug)]
pub(super) struct Running {
    repeats: Arc<Repeats>,
    id: CallId,
    tell: watch::Sender<Option<Told>>,
    /// An earlier call with the same key may have run.
    is_repeat: bool,
    has_ended: bool,
}

impl Repeats {
    /// Sets the bounds, before which nothing is kept; what is beyond the new ones goes with the next call.
    pub fn set_bounds(&self, bounds: RepeatBounds) {
        self.state().bounds = bounds;
    }

    /// How many calls are remembered, and how much that takes in bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let state = self.state();
        (state.entries.len(), state.bytes)
    }

    /// Looks a call up, and has it run if it is the first one; nothing where no outcomes are kept.
    pub(super) fn begin(
        self: &Arc<Self>,
        invocation: &Invocation,
        arguments: &[u8],
        now: Instant,
    ) -> Option<Found> {
        let (id, digest) = (CallId::of(invocation), Sha256::digest(arguments).into());
        let mut state = self.state();
        // Also what is left of a time when something was kept.
        state.forget(now, &self.forgotten);
        if state.bounds.keep.is_zero() {
            return None;
        }
        let mut sent_before = None;
        if let Some(entry) = state.entries.get(&id) {
            if entry.arguments != digest {
                return Some(Found::refused(
                    ErrorCode::InvalidArgument,
                    "the idempotency key came with other arguments before: each call needs a key of its own",
                ));
            }
            match &entry.progress {
                Progress::Ended(outcome) => {
                    self.answered.count();
                    return Some(Found::Ended(outcome.clone()));
                }
                Progress::Runs { outcome, .. } => {
                    self.answered.count();
                    return Some(Found::Runs(outcome.clone()));
                }
                Progress::Lost(peer) => sent_before = Some(Arc::clone(peer)),
            }
        }
        // Running ones are never forgotten, so they alone must not fill the memory.
        let running = state.entries.len() - state.ended.len();
        if sent_before.is_none() && (running + 1) * ENTRY_BYTES > state.bounds.bytes_max {
            return Some(Found::refused(
                ErrorCode::Overloaded,
                "the memory for calls with idempotency keys is full of calls that run",
            ));
        }
        let (tell, outcome) = watch::channel(None);
        let progress = Progress::Runs { outcome, lost: sent_before.clone().map(Lost::On) };
        state.remove(id);
        state.insert(id, Entry { arguments: digest, bytes: ENTRY_BYTES, progress });
        let is_repeat = sent_before.is_some();
        let running = Running { repeats: Arc::clone(self), id, tell, is_repeat, has_ended: false };
        Some(Found::First(running, sent_before))
    }

    /// Notes that a call went to the peer of that authority, and that nobody knows whether it ran there.
    pub(super) fn lose(&self, invocation: &Invocation, peer: &str, is_idempotent: bool) {
        if invocation.idempotency_key.is_none() {
            return;
        }
        let mut state = self.state();
        let entry = state.entries.get_mut(&CallId::of(invocation));
        if let Some(Entry { progress: Progress::Runs { lost, .. }, .. }) = entry {
            *lost = Some(if is_idempotent { Lost::Harmlessly } else { Lost::On(peer.into()) });
        }
    }

    fn end(&self, id: CallId, told: &Told, now: Instant) {
        let mut state = self.state();
        let Some(Entry { arguments, progress, .. }) = state.remove(id) else { return };
        let lost = if let Progress::Runs { lost, .. } = progress { lost } else { None };
        let executed = told.outcome.as_ref().map_or_else(|failure| failure.executed, |_| Some(true));
        let (progress, bytes) = match (executed, lost) {
            (Some(false), _) | (None, Some(Lost::Harmlessly)) => return,
            (None, Some(Lost::On(peer))) => (Progress::Lost(peer), 0),
            _ => kept(told, state.bounds.bytes_max / OUTCOME_PART),
        };
        state.insert(id, Entry { arguments, bytes: ENTRY_BYTES + bytes, progress });
        state.ended.push_back((now, id));
        state.forget(now, &self.forgotten);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An outcome and its size, if it is not too large. It is copied: the bytes may be those of a plugin, which must not stay
/// mapped for them, or part of a larger frame.
fn kept(told: &Told, bytes_max: usize) -> (Progress, usize) {
    let served_by = told.served_by.clone();
    let ended = |outcome| Progress::Ended(Told { outcome, served_by });
    let (outcome, bytes) = match &told.outcome {
        Ok(result) => (Ok(result), result.len()),
        Err(failure) => (Err(failure), wire::encode_failure(failure).len()),
    };
    if bytes > bytes_max {
        let text = format!(
            "the call with this idempotency key ran; its outcome of {bytes} bytes was too large to keep"
        );
        return (ended(Err(Box::new(Failure::executed(ErrorCode::Internal, text)))), 0);
    }
    let copy = match outcome {
        Ok(result) => Ok(Bytes::copy_from_slice(result)),
        Err(failure) => {
            let details = failure.details.as_deref().map(Bytes::copy_from_slice);
            Err(Box::new(Failure { details, ..Failure::clone(failure) }))
        }
    };
    (ended(copy), bytes)
}

impl State {
    fn insert(&mut self, id: CallId, entry: Entry) {
        self.bytes += entry.bytes;
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: CallId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.bytes -= entry.bytes;
        if !matches!(entry.progress, Progress::Runs { .. }) {
            self.ended.retain(|(_, ended)| *ended != id);
        }
        Some(entry)
    }

    /// Forgets what is over its time, and the oldest as long as there is too much.
    fn forget(&mut self, now: Instant, forgotten: &Counter) {
        while let Some((ended_at, id)) = self.ended.front().copied() {
            let is_over = now.saturating_duration_since(ended_at) >= self.bounds.keep;
            if !is_over && self.bytes <= self.bounds.bytes_max {
                return;
            }
            if !is_over {
                forgotten.count();
            }
            self.ended.pop_front();
            if let Some(entry) = self.entries.remove(&id) {
                self.bytes -= entry.bytes;
            }
        }
    }
}

impl CallId {
    fn of(invocation: &Invocation) -> Self {
        let (kind, name) = match &invocation.caller {
            Caller::Plugin(name) => ("plugin", &**name),
            // Whichever host a repeat comes through.
            Caller::Peer(_) => ("peer", ""),
            Caller::Client | Caller::Unnamed => ("client", ""),
            Caller::Named(caller) => ("named", &*caller.name),
        };
        let key = invocation.idempotency_key.as_deref().unwrap_or_default();
        let mut hasher = Sha256::new();
        for part in [kind.as_bytes(), name.as_bytes(), invocation.function.as_str().as_bytes(), key] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }
}

impl Running {
    /// Where the outcome will be.
    pub(super) fn outcome(&self) -> watch::Receiver<Option<Told>> {
        self.tell.subscribe()
    }

    /// Notes how it ended, and tells all who wait.
    pub(super) fn end(mut self, told: impl Into<Told>) {
        let mut told = told.into();
        // This one did not run; an earlier one may have.
        if let Err(failure) = &mut told.outcome
            && self.is_repeat
            && failure.executed == Some(false)
        {
            failure.executed = None;
        }
        self.tell(told);
    }

    fn tell(&mut self, told: Told) {
        self.has_ended = true;
        self.repeats.end(self.id, &told, Instant::now());
        self.tell.send_replace(Some(told));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            let text = "the call was given up while it ran";
            self.tell(Err(Box::new(Failure::new(ErrorCode::Cancelled, text))).into());
        }
    }
}

#[cfg(test)]
mod tests;
