//! What is known of calls that carry an idempotency key: that one runs, how one ended, or that nobody knows.
//!
//! Bounded in time and memory. An outcome stays for its time: when there is no room, calls with new keys are refused.
//! A caller may take as much of the memory as is left free: alone half of it, and one that comes after others that took
//! all they could, half of what those left. Times are passed in.

use std::collections::{HashMap, VecDeque, hash_map};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::base::{
    Caller, Counter, Credential, ErrorCode, Executed, Failure, HostId, Invocation, Mutex, MutexGuard, Outcome,
};
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
    /// What all outcomes together may take.
    pub bytes_max: usize,
}

/// The memory of one host.
#[derive(Debug, Default)]
pub struct Repeats {
    state: Mutex<State>,
    /// Repeats that were answered without running anything.
    pub answered: Counter,
    /// Outcomes that were not kept, because they were too large or the share of their caller was full; that their calls
    /// ran is.
    pub unkept: Counter,
    /// Calls that were refused, because the share of their caller was full.
    pub refused: Counter,
}

#[derive(Debug, Default)]
struct State {
    bounds: RepeatBounds,
    entries: HashMap<CallId, Entry>,
    /// Entries whose call has ended, oldest first.
    ended: VecDeque<(Instant, CallId)>,
    /// What all entries take.
    bytes: usize,
    /// Bytes of the entries of each caller.
    callers: HashMap<CallerId, usize>,
}

/// Who asks, as a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct CallerId([u8; 32]);

/// Who asks for which function with which key, as a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CallId([u8; 32]);

#[derive(Debug)]
struct Entry {
    caller: CallerId,
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
    /// It was sent there, and nobody knows what came of it: a repeat must not go anywhere else.
    Lost(SentTo),
}

/// Where a call was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentTo {
    /// The authority of the peer's URL.
    pub(super) authority: Arc<str>,
    /// The host that answered there: whoever is on the way may lead the URL to another one.
    pub(super) host: Option<HostId>,
}

/// A call of which nobody knows whether a peer ran it.
#[derive(Debug, Clone)]
enum Lost {
    /// That one.
    On(SentTo),
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
    First(Running, Option<SentTo>),
    /// The first one runs.
    Runs(watch::Receiver<Option<Told>>),
    /// The first one ended.
    Ended(Told),
    /// It is refused, and nothing is known of a first one.
    Refused(Box<Failure>),
}

impl Found {
    fn refused(code: ErrorCode, text: &str) -> Self {
        Self::Refused(Box::new(Failure::not_executed(code, text)))
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
        let caller = CallerId::of(&invocation.caller);
        let (id, digest) = (CallId::of(invocation), Sha256::digest(arguments).into());
        let mut state = self.state();
        // Also what is left of a time when something was kept.
        state.forget(now);
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
                Progress::Lost(peer) => sent_before = Some(peer.clone()),
            }
        }
        if sent_before.is_none() && !state.has_room(caller) {
            self.refused.count();
            return Some(Found::refused(
                ErrorCode::Overloaded,
                "this caller's share of the memory for idempotency keys is full of calls that run or ended a short \
                 while ago: call again later, or raise server.idempotency_bytes_max",
            ));
        }
        let (tell, outcome) = watch::channel(None);
        let progress = Progress::Runs { outcome, lost: sent_before.clone().map(Lost::On) };
        state.remove(id);
        state.insert(id, Entry { caller, arguments: digest, bytes: ENTRY_BYTES, progress });
        let is_repeat = sent_before.is_some();
        let running = Running { repeats: Arc::clone(self), id, tell, is_repeat, has_ended: false };
        Some(Found::First(running, sent_before))
    }

    /// Notes that a call went to the peer of that authority, and that nobody knows whether it ran there.
    pub(super) fn lose(&self, invocation: &Invocation, sent: SentTo, is_idempotent: bool) {
        if invocation.idempotency_key.is_none() {
            return;
        }
        let mut state = self.state();
        let entry = state.entries.get_mut(&CallId::of(invocation));
        if let Some(Entry { progress: Progress::Runs { lost, .. }, .. }) = entry {
            *lost = Some(if is_idempotent { Lost::Harmlessly } else { Lost::On(sent) });
        }
    }

    fn end(&self, id: CallId, told: &Told, now: Instant) {
        let mut state = self.state();
        let Some(Entry { caller, arguments, progress, .. }) = state.remove(id) else { return };
        let lost = if let Progress::Runs { lost, .. } = progress { lost } else { None };
        let executed = told.outcome.as_ref().map_or_else(|failure| failure.executed, |_| Executed::Yes);
        let (progress, bytes) = match (executed, lost) {
            (Executed::No, _) | (Executed::Unknown, Some(Lost::Harmlessly)) => return,
            (Executed::Unknown, Some(Lost::On(peer))) => (Progress::Lost(peer), 0),
            _ => kept(told, state.bounds.bytes_max / OUTCOME_PART, state.room(caller)).unwrap_or_else(
                |unkept| {
                    self.unkept.count();
                    (Progress::Ended(unkept), 0)
                },
            ),
        };
        state.insert(id, Entry { caller, arguments, bytes: ENTRY_BYTES + bytes, progress });
        state.ended.push_back((now, id));
        state.forget(now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// An outcome and its size, or what is kept of one that has no room. It is copied: the bytes may be those of a plugin,
/// which must not stay mapped for them, or part of a larger frame.
fn kept(told: &Told, bytes_max: usize, room: usize) -> Result<(Progress, usize), Told> {
    let served_by = told.served_by.clone();
    let (outcome, bytes) = match &told.outcome {
        Ok(result) => (Ok(result), result.len()),
        Err(failure) => (Err(failure), wire::encode_failure(failure).len()),
    };
    if bytes > bytes_max.min(room) {
        let why = if bytes > bytes_max { "was too large to keep" } else { "found this caller's share full" };
        let text = format!("the call with this idempotency key ran; its outcome of {bytes} bytes {why}");
        let outcome = Err(Box::new(Failure::executed(ErrorCode::Internal, text)));
        return Err(Told { outcome, served_by });
    }
    let copy = match outcome {
        Ok(result) => Ok(Bytes::copy_from_slice(result)),
        Err(failure) => {
            let details = failure.details.as_deref().map(Bytes::copy_from_slice);
            Err(Box::new(Failure { details, ..Failure::clone(failure) }))
        }
    };
    Ok((Progress::Ended(Told { outcome: copy, served_by }), bytes))
}

impl State {
    fn insert(&mut self, id: CallId, entry: Entry) {
        self.bytes += entry.bytes;
        *self.callers.entry(entry.caller).or_default() += entry.bytes;
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: CallId) -> Option<Entry> {
        let entry = self.take(id)?;
        if !matches!(entry.progress, Progress::Runs { .. }) {
            self.ended.retain(|(_, ended)| *ended != id);
        }
        Some(entry)
    }

    fn take(&mut self, id: CallId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.bytes -= entry.bytes;
        if let hash_map::Entry::Occupied(mut taken) = self.callers.entry(entry.caller) {
            *taken.get_mut() -= entry.bytes;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
        Some(entry)
    }

    /// Returns the free bytes if the caller has taken fewer than those; 0 otherwise.
    fn share(&self, caller: CallerId) -> usize {
        let free = self.bounds.bytes_max.saturating_sub(self.bytes);
        let taken = self.callers.get(&caller).copied().unwrap_or(0);
        if taken < free { free } else { 0 }
    }

    /// Returns true if one more call of the caller may be remembered.
    fn has_room(&self, caller: CallerId) -> bool {
        self.share(caller) >= ENTRY_BYTES
    }

    /// The largest outcome of the caller that may be kept. The last one may lead beyond its share, by half of what is
    /// free: otherwise its large outcomes would never be kept before it, and their calls never refused.
    fn room(&self, caller: CallerId) -> usize {
        self.share(caller).saturating_sub(ENTRY_BYTES) / 2
    }

    /// Forgets what is over its time.
    fn forget(&mut self, now: Instant) {
        while let Some((ended_at, id)) = self.ended.front().copied() {
            if now.saturating_duration_since(ended_at) < self.bounds.keep {
                return;
            }
            self.ended.pop_front();
            self.take(id);
        }
    }
}

impl CallerId {
    fn of(caller: &Caller) -> Self {
        let (kind, (credential, what)) = match caller {
            Caller::Plugin(name) => ("plugin", ("", name.as_bytes())),
            // Whichever host a repeat comes through.
            Caller::Peer(_, sealed) => ("peer", sealed.parts()),
            Caller::Client(admitted) => ("client", admitted.parts()),
            Caller::Unnamed => ("client", Credential::None.parts()),
            // All of its keys.
            Caller::Named(caller) => ("named", ("", caller.name.as_bytes())),
        };
        Self(digest_of([kind.as_bytes(), credential.as_bytes(), what]))
    }
}

impl CallId {
    fn of(invocation: &Invocation) -> Self {
        let CallerId(caller) = CallerId::of(&invocation.caller);
        let key = invocation.idempotency_key.as_deref().unwrap_or_default();
        Self(digest_of([&caller, invocation.function.as_str().as_bytes(), key]))
    }
}

fn digest_of<const N: usize>(parts: [&[u8]; N]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
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
            && failure.executed == Executed::No
        {
            failure.executed = Executed::Unknown;
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
