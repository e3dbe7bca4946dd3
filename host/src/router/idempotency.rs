//! A call with an idempotency key: it runs once, to its end, and every repeat gets the same outcome.
//!
//! It does not stop when its caller goes away: a caller that lost the connection repeats the call to learn its outcome.
//! It holds its permit of the host until it ends, at its deadline at the latest.

use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;

pub(super) mod outcomes;

use super::Router;
use super::decision::Target;
use super::dispatch::JOINED_MAX;
use crate::base::{Caller, ErrorCode, Executed, Failure, Invocation, Outcome, Permit, ServedBy};
use crate::functions::{CallFuture, Started, run};
use crate::peers::{NoPermit, PeerAnswer};
use outcomes::{Lookup, RecordedOutcome, SentTo};

/// The peer that may have run a call is not among the current peers of the function.
const NOT_ASKED: &str =
    "an earlier call with this idempotency key may have run on a peer that is not asked any more";

impl Router {
    /// Begins a call with an idempotency key, or returns the outcome of the call that it repeats.
    pub(super) fn dedupe(
        self: Arc<Self>,
        invocation: Arc<Invocation>,
        arguments: Bytes,
        context: &mut Context<'_>,
    ) -> Started {
        let rest: CallFuture = match self.outcomes.begin(&invocation, &arguments, Instant::now()) {
            None => return self.route(invocation, arguments, context),
            Some(Lookup::Refused(failure)) => return Started::Ready(Err(failure)),
            Some(Lookup::Ended(told)) => {
                invocation.served_by.repeats();
                return Started::Ready(take(told, &invocation.served_by));
            }
            Some(Lookup::Runs(told)) => match self.joined.try_acquire() {
                Some(permit) => Box::pin(join(told, invocation, permit)),
                None => return Started::Ready(Err(nobody_more_joins())),
            },
            Some(Lookup::First(running, sent_before)) => {
                let (told, served_by) = (running.outcome(), invocation.served_by.clone());
                let ran_by = served_by.clone();
                // Bytes of a plugin would keep it from being replaced while this call runs.
                let arguments = match invocation.caller {
                    Caller::Plugin(_) => Bytes::copy_from_slice(&arguments),
                    _ => arguments,
                };
                let abandoned = self.once_tasks.abandoned().clone();
                let this = Arc::clone(&self);
                self.once_tasks.spawn(async move {
                    let ran = async {
                        match sent_before {
                            Some(sent) => this.call_again(&sent, invocation, arguments).await,
                            None => run(|context| this.route(invocation, arguments, context)).await,
                        }
                    };
                    tokio::select! {
                        outcome = ran => running.end(RecordedOutcome { outcome, served_by: ran_by.host().cloned() }),
                        // Dropped in the middle of its work.
                        () = abandoned.cancelled() => {}
                    }
                });
                Box::pin(follow(told, served_by))
            }
        };
        Started::poll(rest, context)
    }

    /// Sends a call again to the one peer that may have run it, if the same host answers there, and records it if that
    /// happened.
    async fn call_again(&self, sent: &SentTo, invocation: Arc<Invocation>, arguments: Bytes) -> Outcome {
        // It must still be a peer that the call can go to.
        let Target::Peers(peers) = self.target(&invocation.function) else {
            return unknown(NOT_ASKED);
        };
        let Some(peer) = peers.into_iter().find(|known| known.url().authority() == &*sent.authority) else {
            return unknown(NOT_ASKED);
        };
        let permit = match peer.acquire(Instant::now()) {
            Ok(permit) => permit,
            Err(NoPermit::NotBefore(_)) => {
                return unknown("the peer that may have run this call is paused after failures");
            }
            Err(NoPermit::Full) => {
                return unknown("as many calls run at the peer that may have run this call as may");
            }
        };
        let _away = invocation.host_permit.lend();
        match peer.call(&invocation, arguments, permit, sent.host.as_ref()).await.answer {
            PeerAnswer::Outcome(outcome, served_by) => {
                let ran = outcome.as_ref().err().is_none_or(|failure| failure.executed == Executed::Yes);
                served_by.filter(|_| ran).into_iter().for_each(|host| invocation.served_by.set(host));
                outcome
            }
            PeerAnswer::Itself => unknown("the peer that may have run this call is this host by now"),
        }
    }
}

fn unknown(text: &str) -> Outcome {
    Err(Box::new(Failure::new(ErrorCode::Unavailable, text)))
}

/// Returns the outcome of the call that this one repeats.
fn take(told: RecordedOutcome, served_by: &ServedBy) -> Outcome {
    told.served_by.into_iter().for_each(|host| served_by.set(host));
    told.outcome
}

/// Waits for the outcome of the running call, which ends at its deadline.
async fn follow(mut told: watch::Receiver<Option<RecordedOutcome>>, served_by: ServedBy) -> Outcome {
    match told.wait_for(Option::is_some).await.map(|ended| ended.clone()) {
        Ok(Some(told)) => take(told, &served_by),
        _ => Err(Box::new(Failure::new(ErrorCode::Cancelled, "the call was given up while it ran"))),
    }
}

fn nobody_more_joins() -> Box<Failure> {
    let text = format!(
        "{JOINED_MAX} repeats of calls with idempotency keys wait for the first ones, which is the most"
    );
    Box::new(Failure::new(ErrorCode::Overloaded, text))
}

/// Waits for the outcome of another call with the same key, and at most until the deadline of this one. It does nothing
/// here meanwhile, so it holds only a permit for waiting repeats.
async fn join(
    told: watch::Receiver<Option<RecordedOutcome>>,
    invocation: Arc<Invocation>,
    _permit: Permit,
) -> Outcome {
    let _away = invocation.host_permit.lend();
    let followed = follow(told, invocation.served_by.clone());
    match tokio::time::timeout_at(invocation.deadline.0.into(), followed).await {
        Ok(outcome) => {
            invocation.served_by.repeats();
            outcome
        }
        Err(_) => {
            let text = "the first call with this idempotency key still runs";
            Err(Box::new(Failure::new(ErrorCode::DeadlineExceeded, text)))
        }
    }
}
