//! Records what one call shows of its peer: counts, latency, history and the breaker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Peer;
use super::answer::{AttemptError, AttemptResult, PeerAnswer};
use crate::base::{ErrorCode, Executed, Failure, Outcome};
use crate::peers::{BreakerPermit, Cause, Cure, Reached, Timestamp};

/// The longest time that a late answer is waited for, to learn whether the peer answers at all.
const LATE_MAX: Duration = Duration::from_secs(1);

/// Records one call, also if it is dropped.
pub(super) struct CallRecorder<'a> {
    peer: &'a Arc<Peer>,
    begun: Instant,
    /// Taken when the result is recorded, or by the task that waits for a late answer.
    permit: Option<BreakerPermit>,
    not_the_peers_fault: bool,
    /// The reason why there is no sealed answer.
    cause: Option<Cause>,
    ended: bool,
}

impl<'a> CallRecorder<'a> {
    pub(super) fn begin(peer: &'a Arc<Peer>, permit: BreakerPermit) -> Self {
        let begun = Instant::now();
        peer.stats.begin();
        peer.latency.begin(begun);
        Self { peer, begun, permit: Some(permit), not_the_peers_fault: false, cause: None, ended: false }
    }

    /// Records why there is no sealed answer.
    pub(super) fn miss(&mut self, cause: Cause, not_the_peers_fault: bool) {
        self.cause = Some(cause);
        self.not_the_peers_fault |= not_the_peers_fault;
    }

    /// The reason why there is no sealed answer, if there is none.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Returns what may cure a failure.
    pub(super) fn cure(&self, answer: &PeerAnswer) -> Cure {
        let cause = match answer {
            PeerAnswer::Outcome(Err(failure), Some(_)) => Cause::Told(failure.code),
            PeerAnswer::Outcome(..) => self.cause.unwrap_or(Cause::OutOfTime),
            PeerAnswer::Itself => return Cure::AnotherPeer,
        };
        cause.cure()
    }

    /// Waits for the answer of an attempt whose deadline has passed.
    ///
    /// The deadline alone shows nothing of the peer, as callers choose it. A late sealed answer shows that the peer is
    /// well, even one that says that the time was over there as well; silence shows that it is not.
    pub(super) fn wait_for_late(
        &mut self,
        attempt: impl Future<Output = Result<AttemptResult, AttemptError>> + Send + 'static,
    ) {
        self.not_the_peers_fault = true;
        // A flood of calls with short deadlines must not hold connections without end.
        let Ok(late) = Arc::clone(&self.peer.late).try_acquire_owned() else { return };
        let Some(permit) = self.permit.take() else { return };
        let (peer, begun) = (Arc::clone(self.peer), self.begun);
        let token = self.peer.client().tasks().token().clone();
        self.peer.client().tasks().spawn(async move {
            let answered = tokio::select! {
                answered = tokio::time::timeout(LATE_MAX, attempt) => answered,
                () = token.cancelled() => return,
            };
            let (cause, failure) = match answered {
                Ok(Ok(_)) => {
                    peer.history.record_answer(Reached::Call, Timestamp::now());
                    return peer.breaker.record_success(permit, Instant::now());
                }
                Ok(Err(AttemptError { not_the_peers_fault: true, .. })) => return,
                Ok(Err(AttemptError { failure, cause, .. })) => (cause, failure),
                Err(_) => {
                    let text = format!("no answer to a call within {} ms", begun.elapsed().as_millis());
                    (Cause::OutOfTime, Box::new(Failure::new(ErrorCode::DeadlineExceeded, text)))
                }
            };
            peer.note_cure(Cure::Time);
            peer.record_in_history(cause, &failure);
            peer.record_failure(permit, begun.elapsed());
            drop(late);
        });
    }

    pub(super) fn end(&mut self, answer: &PeerAnswer) {
        let (peer, now) = (self.peer, Instant::now());
        let took = now.saturating_duration_since(self.begun);
        let PeerAnswer::Outcome(outcome, served_by) = answer else { return };
        peer.latency.end(self.begun);
        peer.stats.end(outcome, took);
        self.ended = true;
        let Some(permit) = self.permit.take() else { return self.spare(outcome, took, now) };
        match (outcome, served_by) {
            (Ok(_), Some(_)) => {
                peer.history.record_answer(Reached::Call, Timestamp::now());
                peer.latency.record_answer(took, now);
                peer.breaker.record_success(permit, now);
            }
            (Err(failure), Some(_)) => {
                peer.note_refusal(failure);
                match failure.code {
                    // It is there, and is busy or cannot run the call.
                    ErrorCode::Overloaded
                    | ErrorCode::Unavailable
                    | ErrorCode::NotFound
                    | ErrorCode::Panic
                    | ErrorCode::Internal => peer.latency.record_failure(took, now),
                    _ => peer.latency.record_error(took, now),
                }
                peer.breaker.record_success(permit, now);
            }
            (Err(failure), None) if self.not_the_peers_fault || is_unsent_in_time(failure) => {
                self.spare(outcome, took, now);
            }
            (outcome, None) => {
                let cause = self.cause.unwrap_or(Cause::OutOfTime);
                peer.note_cure(self.cause.map_or(Cure::Time, Cause::cure));
                outcome.as_ref().err().into_iter().for_each(|failure| peer.record_in_history(cause, failure));
                peer.record_failure(permit, took);
            }
        }
    }

    /// Records a failure that does not count against the peer.
    fn spare(&self, outcome: &Outcome, took: Duration, now: Instant) {
        if let (Some(cause), Err(failure)) = (self.cause, outcome) {
            let reason = self.peer.reason(cause, failure);
            self.peer.history.record_error(cause, reason, Timestamp::now());
        }
        self.peer.latency.record_timeout(took, now);
    }
}

impl Drop for CallRecorder<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let took = self.begun.elapsed();
            self.peer.latency.end(self.begun);
            self.peer.latency.record_timeout(took, Instant::now());
            self.peer.stats.cancel(took);
        }
    }
}

fn is_unsent_in_time(failure: &Failure) -> bool {
    failure.code == ErrorCode::DeadlineExceeded && failure.executed == Executed::No
}
