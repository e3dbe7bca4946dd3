//! A call with an idempotency key: it runs once, to its end, and whoever repeats it gets the same outcome.
//!
//! It does not stop when its caller goes away: a caller that lost the connection repeats the call to learn what came of
//! it. It holds its place among the calls of the host until it ends, at its deadline at the latest.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;

use super::Router;
use super::repeats::Found;
use crate::base::{Deadline, ErrorCode, Failure, Invocation, Outcome};
use crate::functions::{CallFuture, Started, run};
use crate::peers::{Admission, Answer};

impl Router {
    /// Begins a call with an idempotency key, or answers it with the outcome of the one that it repeats.
    pub(super) fn start_once(
        self: Arc<Self>,
        invocation: Arc<Invocation>,
        arguments: Bytes,
        context: &mut Context<'_>,
    ) -> Started {
        let deadline = invocation.deadline;
        let mut rest: CallFuture = match self.repeats.begin(&invocation, &arguments, Instant::now()) {
            None => return self.start_any(invocation, arguments, context),
            Some(Found::Ended(outcome)) => return Started::Ready(outcome),
            Some(Found::Runs(outcome)) => Box::pin(join(outcome, deadline)),
            Some(Found::First(running, sent_before)) => {
                let outcome = running.outcome();
                let abandoned = self.once_tasks.abandoned().clone();
                let this = Arc::clone(&self);
                let _owned = self.once_tasks.spawn(async move {
                    let ran = async {
                        match sent_before {
                            Some(peer) => this.call_again(&peer, invocation, arguments).await,
                            None => run(|context| this.start_any(invocation, arguments, context)).await,
                        }
                    };
                    tokio::select! {
                        outcome = ran => running.end(outcome),
                        // Dropped with what it is in the middle of.
                        () = abandoned.cancelled() => {}
                    }
                });
                Box::pin(follow(outcome))
            }
        };
        match rest.as_mut().poll(context) {
            Poll::Ready(outcome) => Started::Ready(outcome),
            Poll::Pending => Started::Pending(rest),
        }
    }

    /// Makes a call once more on the one peer that may have run it, and remembers if it did.
    async fn call_again(&self, peer: &str, invocation: Arc<Invocation>, arguments: Bytes) -> Outcome {
        let Some(peer) = self.peer_at(peer) else {
            return unknown(
                "an earlier call with this idempotency key may have run on a peer that is not asked any more",
            );
        };
        let is_trial = match peer.admit(Instant::now()) {
            Admission::No(_) => {
                return unknown("the peer that may have run this call is left alone for a moment");
            }
            admission => admission == Admission::Trial,
        };
        match peer.call(&invocation, arguments, self.host_id(), *self.instance(), is_trial).await {
            Answer::Outcome(outcome, served_by) => {
                served_by.into_iter().for_each(|host| invocation.served_by.set(host));
                outcome
            }
            Answer::Itself => unknown("the peer that may have run this call is this host by now"),
        }
    }
}

fn unknown(text: &str) -> Outcome {
    Err(Box::new(Failure::new(ErrorCode::Unavailable, text)))
}

/// Waits for the outcome of the call that was begun, which ends at its deadline.
async fn follow(mut outcome: watch::Receiver<Option<Outcome>>) -> Outcome {
    match outcome.wait_for(Option::is_some).await.map(|ended| ended.clone()) {
        Ok(Some(outcome)) => outcome,
        _ => Err(Box::new(Failure::new(ErrorCode::Cancelled, "the call was given up while it ran"))),
    }
}

/// Waits for the outcome of another call with the same key, no longer than this one may take.
async fn join(outcome: watch::Receiver<Option<Outcome>>, deadline: Deadline) -> Outcome {
    let followed = tokio::time::timeout_at(deadline.0.into(), follow(outcome)).await;
    followed.unwrap_or_else(|_| {
        let text = "the first call with this idempotency key still runs";
        Err(Box::new(Failure::new(ErrorCode::DeadlineExceeded, text)))
    })
}
