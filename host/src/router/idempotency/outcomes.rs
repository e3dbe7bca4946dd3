//! The memory of calls with idempotency keys: running, ended, or with an unknown outcome.
//!
//! It is bounded in time and memory. An outcome stays for its time: without room, calls with new keys are rejected. A
//! caller may use as much of the memory as is left free: alone half of it, and one that comes after others that took
//! all they could, half of the rest. Times are passed in.

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

/// Approximate size of an entry besides the bytes of its outcome.
const ENTRY_BYTES: usize = 512;
/// The part of the memory that one outcome may take.
const OUTCOME_PART: usize = 8;

/// The limits of the memory, in time and size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutcomeBounds {
    /// Time to keep an outcome; zero: idempotency keys are passed on, and nothing is kept here.
    pub keep: Duration,
    /// Maximum size of all entries together, in bytes.
    pub bytes_max: usize,
}

/// The memory of one host.
#[derive(Debug, Default)]
pub struct Outcomes {
    state: Mutex<OutcomesState>,
    /// Outcomes that were answered without running anything.
    pub answered: Counter,
    /// Outcomes that were not kept, because they were too large or the share of their caller was full; that their calls
    /// ran is.
    pub unkept: Counter,
    /// Calls that were refused, because the share of their caller was full.
    pub refused: Counter,
}

#[derive(Debug, Default)]
struct OutcomesState {
    bounds: OutcomeBounds,
    entries: HashMap<CallId, OutcomeEntry>,
    /// Entries whose call has ended, oldest first.
    ended: VecDeque<(Instant, CallId)>,
    /// Size of all entries, in bytes.
    bytes: usize,
    /// Bytes of the entries of each caller.
    callers: HashMap<CallerId, usize>,
}

/// Digest of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct CallerId([u8; 32]);

/// Digest of a caller, a function and an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::router) struct CallId([u8; 32]);

#[derive(Debug)]
struct OutcomeEntry {
    caller: CallerId,
    /// Digest of the arguments.
    arguments: [u8; 32],
    bytes: usize,
    progress: OutcomeProgress,
}

#[derive(Debug)]
enum OutcomeProgress {
    /// Those who repeat it wait for the same outcome. Perhaps a peer has it, and what it does will not be known.
    Runs { outcome: watch::Receiver<Option<RecordedOutcome>>, lost: Option<UnknownRun> },
    /// It ended with this outcome.
    Ended(RecordedOutcome),
    /// It was sent there, and its outcome is unknown: a repeat must not go anywhere else.
    Unknown(SentTo),
}

/// The peer that a call was sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::router) struct SentTo {
    /// The authority of the peer's URL.
    pub(in crate::router) authority: Arc<str>,
    /// The host that answered there: a machine on the way may lead the URL to another one.
    pub(in crate::router) host: Option<HostId>,
}

/// An attempt on a peer whose outcome is unknown.
#[derive(Debug, Clone)]
enum UnknownRun {
    /// That one.
    On(SentTo),
    /// Some peer; another one may run it as well.
    Harmlessly,
}

/// The outcome of a call, and the host that ran it, if it was another one.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::router) struct RecordedOutcome {
    pub(in crate::router) outcome: Outcome,
    pub(in crate::router) served_by: Option<HostId>,
}

impl From<Outcome> for RecordedOutcome {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, served_by: None }
    }
}

/// The result of looking up a call with an idempotency key.
#[derive(Debug)]
pub(in crate::router) enum Lookup {
    /// It is the first one: it runs. An earlier one may have run on this peer, and nowhere else.
    First(FirstCall, Option<SentTo>),
    /// The first one runs.
    Runs(watch::Receiver<Option<RecordedOutcome>>),
    /// The first one ended.
    Ended(RecordedOutcome),
    /// It is rejected, and no first call is known.
    Refused(Box<Failure>),
}

impl Lookup {
    fn refused(code: ErrorCode, text: &str) -> Self {
        Self::Refused(Box::new(Failure::not_executed(code, text)))
    }
}

/// A running call; its end must be reported.
#[derive(Debug)]
pub(in crate::router) struct FirstCall {
    outcomes: Arc<Outcomes>,
    id: CallId,
    tell: watch::Sender<Option<RecordedOutcome>>,
    /// An earlier call with the same key may have run.
    is_repeat: bool,
    has_ended: bool,
}

impl Outcomes {
    /// Sets the bounds, before which nothing is kept; what is beyond the new ones goes with the next call.
    pub fn set_bounds(&self, bounds: OutcomeBounds) {
        self.state().bounds = bounds;
    }

    /// Returns the number of remembered calls, and their size in bytes.
    pub fn size(&self) -> (usize, usize) {
        let state = self.state();
        (state.entries.len(), state.bytes)
    }

    /// Looks a call up, and makes it run if it is the first one; `None` where no outcomes are kept.
    pub(in crate::router) fn begin(
        self: &Arc<Self>,
        invocation: &Invocation,
        arguments: &[u8],
        now: Instant,
    ) -> Option<Lookup> {
        let caller = CallerId::of(&invocation.caller);
        let (id, digest) = (CallId::of(invocation), Sha256::digest(arguments).into());
        let mut state = self.state();
        // Entries of a time when outcomes were kept expire as well.
        state.forget(now);
        if state.bounds.keep.is_zero() {
            return None;
        }
        let mut sent_before = None;
        if let Some(entry) = state.entries.get(&id) {
            if entry.arguments != digest {
                return Some(Lookup::refused(
                    ErrorCode::InvalidArgument,
                    "the idempotency key came with other arguments before: each call needs a key of its own",
                ));
            }
            match &entry.progress {
                OutcomeProgress::Ended(outcome) => {
                    self.answered.count();
                    return Some(Lookup::Ended(outcome.clone()));
                }
                OutcomeProgress::Runs { outcome, .. } => {
                    self.answered.count();
                    return Some(Lookup::Runs(outcome.clone()));
                }
                OutcomeProgress::Unknown(peer) => sent_before = Some(peer.clone()),
            }
        }
        if sent_before.is_none() && !state.has_room(caller) {
            self.refused.count();
            return Some(Lookup::refused(
                ErrorCode::Overloaded,
                "this caller's share of the memory for idempotency keys is full of calls that run or ended a short \
                 while ago: call again later, or raise server.idempotency_bytes_max",
            ));
        }
        let (tell, outcome) = watch::channel(None);
        let progress = OutcomeProgress::Runs { outcome, lost: sent_before.clone().map(UnknownRun::On) };
        state.remove(id);
        state.insert(id, OutcomeEntry { caller, arguments: digest, bytes: ENTRY_BYTES, progress });
        let is_repeat = sent_before.is_some();
        let running = FirstCall { outcomes: Arc::clone(self), id, tell, is_repeat, has_ended: false };
        Some(Lookup::First(running, sent_before))
    }

    /// Records that a call went to a peer, and that its outcome there is unknown.
    pub(in crate::router) fn mark_unknown(&self, invocation: &Invocation, sent: SentTo, is_idempotent: bool) {
        if invocation.idempotency_key.is_none() {
            return;
        }
        let mut state = self.state();
        let entry = state.entries.get_mut(&CallId::of(invocation));
        if let Some(OutcomeEntry { progress: OutcomeProgress::Runs { lost, .. }, .. }) = entry {
            *lost = Some(if is_idempotent { UnknownRun::Harmlessly } else { UnknownRun::On(sent) });
        }
    }

    fn end(&self, id: CallId, told: &RecordedOutcome, now: Instant) {
        let mut state = self.state();
        let Some(OutcomeEntry { caller, arguments, progress, .. }) = state.remove(id) else { return };
        let lost = if let OutcomeProgress::Runs { lost, .. } = progress { lost } else { None };
        let executed = told.outcome.as_ref().map_or_else(|failure| failure.executed, |_| Executed::Yes);
        let (progress, bytes) = match (executed, lost) {
            (Executed::No, _) | (Executed::Unknown, Some(UnknownRun::Harmlessly)) => return,
            (Executed::Unknown, Some(UnknownRun::On(peer))) => (OutcomeProgress::Unknown(peer), 0),
            _ => kept(told, state.bounds.bytes_max / OUTCOME_PART, state.room(caller)).unwrap_or_else(
                |unkept| {
                    self.unkept.count();
                    (OutcomeProgress::Ended(unkept), 0)
                },
            ),
        };
        state.insert(id, OutcomeEntry { caller, arguments, bytes: ENTRY_BYTES + bytes, progress });
        state.ended.push_back((now, id));
        state.forget(now);
    }

    fn state(&self) -> MutexGuard<'_, OutcomesState> {
        self.state.lock()
    }
}

/// Returns an outcome and its size, or a short failure to keep if there is no room. It is copied: the bytes may belong
/// to a plugin, which must not stay mapped for them, or to a larger frame.
fn kept(
    told: &RecordedOutcome,
    bytes_max: usize,
    room: usize,
) -> Result<(OutcomeProgress, usize), RecordedOutcome> {
    let served_by = told.served_by.clone();
    let (outcome, bytes) = match &told.outcome {
        Ok(result) => (Ok(result), result.len()),
        Err(failure) => (Err(failure), wire::encode_failure(failure).len()),
    };
    if bytes > bytes_max.min(room) {
        let why = if bytes > bytes_max { "was too large to keep" } else { "found this caller's share full" };
        let text = format!("the call with this idempotency key ran; its outcome of {bytes} bytes {why}");
        let outcome = Err(Box::new(Failure::executed(ErrorCode::Internal, text)));
        return Err(RecordedOutcome { outcome, served_by });
    }
    let copy = match outcome {
        Ok(result) => Ok(Bytes::copy_from_slice(result)),
        Err(failure) => {
            let details = failure.details.as_deref().map(Bytes::copy_from_slice);
            Err(Box::new(Failure { details, ..Failure::clone(failure) }))
        }
    };
    Ok((OutcomeProgress::Ended(RecordedOutcome { outcome: copy, served_by }), bytes))
}

impl OutcomesState {
    fn insert(&mut self, id: CallId, entry: OutcomeEntry) {
        self.bytes += entry.bytes;
        *self.callers.entry(entry.caller).or_default() += entry.bytes;
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: CallId) -> Option<OutcomeEntry> {
        let entry = self.take(id)?;
        if !matches!(entry.progress, OutcomeProgress::Runs { .. }) {
            self.ended.retain(|(_, ended)| *ended != id);
        }
        Some(entry)
    }

    fn take(&mut self, id: CallId) -> Option<OutcomeEntry> {
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

    /// Returns the maximum size of an outcome of the caller. The last one may exceed its share, by half of the free
    /// memory: otherwise its large outcomes would never be kept before it, and their calls never rejected.
    fn room(&self, caller: CallerId) -> usize {
        self.share(caller).saturating_sub(ENTRY_BYTES) / 2
    }

    /// Forgets entries whose time is over.
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
            // A repeat may come through any host.
            Caller::Peer(_, sealed) => ("peer", sealed.parts()),
            Caller::Client(admitted) => ("client", admitted.parts()),
            Caller::Unnamed => ("client", Credential::None.parts()),
            // The name stands for all of its keys.
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

impl FirstCall {
    /// Returns the receiver of the outcome.
    pub(in crate::router) fn outcome(&self) -> watch::Receiver<Option<RecordedOutcome>> {
        self.tell.subscribe()
    }

    /// Records the outcome, and passes it to all repeats that wait.
    pub(in crate::router) fn end(mut self, told: impl Into<RecordedOutcome>) {
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

    fn tell(&mut self, told: RecordedOutcome) {
        self.has_ended = true;
        self.outcomes.end(self.id, &told, Instant::now());
        self.tell.send_replace(Some(told));
    }
}

impl Drop for FirstCall {
    fn drop(&mut self) {
        if !self.has_ended {
            let text = "the call was given up while it ran";
            self.tell(Err(Box::new(Failure::new(ErrorCode::Cancelled, text))).into());
        }
    }
}

#[cfg(test)]
mod tests;
