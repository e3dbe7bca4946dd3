//! What one call says of its peer: counts, load, health.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::Attempted;
use super::{Answer, Peer};
use crate::base::{ErrorCode, Failure};
use crate::peers::{Cause, Cure, Moment, Step};

/// How long an answer that comes too late for its caller is waited for, to learn whether the peer answers at all.
const LATE_MAX: Duration = Duration::from_secs(1);

/// Counts a call, and notes what it says of the peer; also if it is dropped.
pub(super) struct Calling<'a> {
    peer: &'a Arc<Peer>,
    begun: Instant,
    is_trial: bool,
    /// What went wrong says nothing of how the peer is.
    is_excused: bool,
    /// Why there is no sealed answer.
    cause: Option<Cause>,
    ended: bool,
}

impl<'a> Calling<'a> {
    pub(super) fn begin(peer: &'a Arc<Peer>, is_trial: bool) -> Self {
        let begun = Instant::now();
        peer.stats.begin();
        peer.latency.began(begun);
        Self { peer, begun, is_trial, is_excused: false, cause: None, ended: false }
    }

    /// There is no sealed answer, and why. If there is too much of something, that is a matter of the call, and says
    /// nothing of how the peer is.
    pub(super) fn missed(&mut self, cause: Cause, is_excused: bool) {
        self.cause = Some(cause);
        self.is_excused |= is_excused;
    }

    /// Why there is no sealed answer, where there is none.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// What may cure it that the call has no result, if it has none.
    pub(super) fn cure(&self, answer: &Answer) -> Cure {
        let cause = match answer {
            Answer::Outcome(Err(failure), Some(_)) => Cause::Told(failure.code),
            Answer::Outcome(..) => self.cause.unwrap_or(Cause::OutOfTime),
            Answer::Itself => return Cure::AnotherPeer,
        };
        cause.cure()
    }

    /// The caller's time is over. That alone says nothing of the peer, as callers choose the time: a sealed answer that
    /// is late, which says perhaps that the time was over there as well, shows that it is well, and silence that it is
    /// not.
    pub(super) fn wait_for_late(
        &mut self,
        attempt: impl Future<Output = Result<Attempted, Missed>> + Send + 'static,
    ) {
        self.is_excused = true;
        // A flood of calls with little time must not hold connections without end.
        let Ok(place) = Arc::clone(&self.peer.late).try_acquire_owned() else { return };
        let (peer, begun) = (Arc::clone(self.peer), self.begun);
        let is_trial = std::mem::take(&mut self.is_trial);
        let token = self.peer.client.tasks().token().clone();
        let _owned = self.peer.client.tasks().spawn(async move {
            let answered = tokio::select! {
                answered = tokio::time::timeout(LATE_MAX, attempt) => answered,
                () = token.cancelled() => return,
            };
            match answered {
                Ok(Ok(_)) => {
                    peer.history.answered(Step::Call, Moment::now());
                    peer.health.succeeded(Instant::now(), is_trial);
                }
                Ok(Err(missed)) if missed.is_excused => peer.give_back_trial(is_trial),
                Ok(Err(Missed { failure, cause, .. })) => {
                    peer.note_cure(Cure::Time);
                    peer.note_failure(cause, &failure);
                    peer.failed(begun.elapsed(), is_trial);
                }
                Err(_) => {
                    let text = format!("no answer to a call within {} ms", begun.elapsed().as_millis());
                    peer.note_cure(Cure::Time);
                    peer.note_failure(Cause::OutOfTime, &Failure::new(ErrorCode::DeadlineExceeded, text));
                    peer.failed(begun.elapsed(), is_trial);
                }
            }
            drop(place);
        });
    }

    pub(super) fn end(&mut self, answer: &Answer) {
        let (peer, now) = (self.peer, Instant::now());
        let took = now.saturating_duration_since(self.begun);
        let Answer::Outcome(outcome, served_by) = answer else { return };
        peer.latency.ended(self.begun);
        peer.stats.end(outcome, took);
        self.ended = true;
        match (outcome, served_by) {
            (Ok(_), Some(_)) => {
                peer.history.answered(Step::Call, Moment::now());
                peer.latency.answered(took, now);
                peer.health.succeeded(now, self.is_trial);
            }
            (Err(failure), Some(_)) => {
                peer.note_refusal(failure);
                match failure.code {
                    // It is there, and has enough to do, or cannot do it.
                    ErrorCode::Overloaded
                    | ErrorCode::Unavailable
                    | ErrorCode::NotFound
                    | ErrorCode::Panic
                    | ErrorCode::Internal => peer.latency.failed(took, now),
                    _ => peer.latency.erred(took, now),
                }
                peer.health.succeeded(now, self.is_trial);
            }
            // Nothing was sent, or it is a matter of the call.
            (Err(failure), None)
                if self.is_excused
                    || (failure.code == ErrorCode::DeadlineExceeded && failure.executed == Some(false)) =>
            {
                if let Some(cause) = self.cause {
                    peer.history.erred(cause, peer.reason(cause, failure), Moment::now());
                }
                peer.latency.at_least(took, now);
                peer.give_back_trial(self.is_trial);
            }
            (outcome, None) => {
                let cause = self.cause.unwrap_or(Cause::OutOfTime);
                peer.note_cure(self.cause.map_or(Cure::Time, Cause::cure));
                outcome.as_ref().err().into_iter().for_each(|failure| peer.note_failure(cause, failure));
                peer.failed(took, self.is_trial);
            }
        }
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let took = self.begun.elapsed();
            self.peer.latency.ended(self.begun);
            self.peer.latency.at_least(took, Instant::now());
            self.peer.stats.cancel(took);
            self.peer.give_back_trial(self.is_trial);
        }
    }
}

/// No sealed answer.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) failure: Box<Failure>,
    pub(super) cause: Cause,
    /// It says nothing of how the peer is.
    pub(super) is_excused: bool,
}
