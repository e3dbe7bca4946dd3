//! A call that suspended: counted when it ends or is dropped, and dropped at its deadline.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use crate::base::{Deadline, ErrorCode, Failure, FunctionName, Outcome};
use crate::functions::{CallFuture, CallStats, Started};

/// Returns the outcome of a function, or a failure if its result, or its error, is too long.
pub(super) fn bounded(outcome: Outcome, function: &FunctionName, bytes_max: usize) -> Outcome {
    let bytes = match &outcome {
        Ok(result) => result.len(),
        Err(failure) => failure.own_bytes(),
    };
    if bytes > bytes_max { Err(Box::new(Failure::too_long(function, bytes_max))) } else { outcome }
}

/// Returns the outcome of a call, or a failure if it came too late: a function that does not yield cannot be stopped at
/// its deadline, and its caller gets the same failure as from a peer that has waited for it.
pub(super) fn in_time(
    outcome: Outcome,
    function: &FunctionName,
    deadline: Deadline,
    ended: Instant,
) -> Outcome {
    let is_said = matches!(&outcome, Err(failure) if failure.code == ErrorCode::DeadlineExceeded);
    if ended <= deadline.0 || is_said {
        return outcome;
    }
    let text = format!("function `{function}` did not end in time, and what it gave later is dropped");
    Err(Box::new(Failure::executed(ErrorCode::DeadlineExceeded, text)))
}

/// The failure of a call of `function` whose body began and did not end in time.
pub fn deadline_exceeded(function: &FunctionName) -> Box<Failure> {
    let text = format!("function `{function}` did not end in time and was stopped");
    Box::new(Failure::executed(ErrorCode::DeadlineExceeded, text))
}

/// Counts the end of a call that suspended, or its drop.
pub(super) struct SuspendedCall {
    pub(super) stats: Arc<CallStats>,
    pub(super) name: FunctionName,
    /// Maximum length of its result, in bytes.
    pub(super) bytes_max: usize,
    pub(super) begun: Instant,
    pub(super) ended: bool,
}

impl SuspendedCall {
    fn end(&mut self, outcome: Outcome) -> Outcome {
        let outcome = bounded(outcome, &self.name, self.bytes_max);
        self.stats.end(&outcome, self.begun.elapsed());
        self.ended = true;
        outcome
    }
}

impl Drop for SuspendedCall {
    fn drop(&mut self) {
        if !self.ended {
            self.stats.cancel(self.begun.elapsed());
        }
    }
}

/// A call that suspended; at its deadline it is dropped.
pub(super) struct UntilDeadline {
    call: Option<CallFuture>,
    until: Deadline,
    deadline: Pin<Box<Sleep>>,
    running: SuspendedCall,
}

impl UntilDeadline {
    pub(super) fn start(
        call: CallFuture,
        until: Deadline,
        mut running: SuspendedCall,
        context: &mut Context<'_>,
    ) -> Started {
        let mut deadline = Box::pin(tokio::time::sleep_until(until.0.into()));
        // The call itself was polled when it began; what remains is to register the task with the timer.
        if deadline.as_mut().poll(context).is_pending() {
            return Started::Pending(Box::pin(Self { call: Some(call), until, deadline, running }));
        }
        drop(call);
        let out_of_time = deadline_exceeded(&running.name);
        Started::Ready(running.end(Err(out_of_time)))
    }
}

impl Future for UntilDeadline {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        if let Some(Poll::Ready(outcome)) = self.call.as_mut().map(|call| call.as_mut().poll(context)) {
            let outcome = in_time(outcome, &self.running.name, self.until, Instant::now());
            return Poll::Ready(self.running.end(outcome));
        }
        if self.deadline.as_mut().poll(context).is_ready() {
            self.call = None;
            let out_of_time = deadline_exceeded(&self.running.name);
            return Poll::Ready(self.running.end(Err(out_of_time)));
        }
        Poll::Pending
    }
}
