//! A call on one of several peers: which one, and whether it may be made again (DESIGN section 5, "Fallback is safe").
//!
//! A call goes on to the next peer, and in the end to the body here where that is configured, only if it provably did
//! not run; one of an idempotent function also if it may have. Whatever is made again takes of the retry budget.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::balance::{Candidate, pick, pick_for};
use super::offers::all_say_idempotent;
use super::{Router, Target};
use crate::base::{Deadline, ErrorCode, Failure, HostId, Invocation, Outcome};
use crate::config::Fallback;
use crate::peers::{Admission, Answer, Peer};

/// Most times that one call is made.
const ATTEMPTS_MAX: u32 = 10;
/// Pause before all peers are asked once more, at first and at most.
const PAUSE_FIRST: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The peer that a call goes to next.
enum Next {
    /// This one of the list; whether the call finds out if it is back.
    Peer(usize, bool),
    /// None may be asked before that time.
    NotBefore(Instant),
    /// All were asked.
    Exhausted,
}

impl Router {
    /// Calls one of `peers`.
    pub(super) async fn call_peers(
        self: Arc<Self>,
        peers: Vec<Arc<Peer>>,
        mut invocation: Arc<Invocation>,
        arguments: Bytes,
    ) -> Outcome {
        // The time that a function gives its calls holds wherever it runs.
        let here = self.table().snapshot().find(invocation.function.as_str()).and_then(|here| here.timeout);
        if let Some(own) = here.map(Deadline::after).filter(|own| *own < invocation.deadline) {
            invocation = Arc::new(Invocation { deadline: own, ..Invocation::clone(&invocation) });
        }
        // Of all attempts together: whoever refuses the last one knows nothing of the others.
        let mut executed = Some(false);
        // Where it ran, if it ran and failed: another peer may have refused it after that.
        let mut ran_on = None;
        let served_by = invocation.served_by.clone();
        let outcome = self.try_peers(peers, invocation, arguments, (&mut executed, &mut ran_on)).await;
        if outcome.as_ref().is_err_and(|failure| failure.executed != Some(true)) {
            ran_on.into_iter().for_each(|host| served_by.set(host));
        }
        outcome
            .map_err(|failure| Box::new(Failure { executed: either(executed, failure.executed), ..*failure }))
    }

    /// The same; `executed` becomes whether any attempt ran so far, and `ran_on` the host on which the last of those did.
    async fn try_peers(
        self: Arc<Self>,
        peers: Vec<Arc<Peer>>,
        invocation: Arc<Invocation>,
        arguments: Bytes,
        (executed, ran_on): (&mut Option<bool>, &mut Option<HostId>),
    ) -> Outcome {
        self.budget.called();
        let here = self.table().snapshot().find(invocation.function.as_str()).map(|here| here.idempotent);
        let is_idempotent = here.unwrap_or_else(|| all_say_idempotent(&invocation.function, &peers));
        // Only what may run twice is worth waiting for, unless it can run here: the others learn at once that nobody can
        // run them.
        let waits = is_idempotent && !self.falls_back(&invocation);
        let (mut left, mut attempts, mut pause) = (peers, 0, PAUSE_FIRST);
        let mut total = left.len();
        // Those that a call goes in circles from: where hosts send calls is no matter of time.
        let mut circles: Vec<Arc<Peer>> = Vec::new();
        let (mut last, mut last_was_told): (Option<Box<Failure>>, bool) = (None, false);
        left.retain(|peer| !peer.is_unfound());
        if left.is_empty() {
            return self.give_up(invocation, arguments, Box::new(Peer::unfound_failure()), true).await;
        }
        loop {
            let now = Instant::now();
            let again = match next(&left, &invocation, now) {
                Next::Peer(place, is_trial) => {
                    let peer = left.swap_remove(place);
                    if attempts >= ATTEMPTS_MAX {
                        peer.give_back(is_trial);
                        break;
                    }
                    if attempts > 0 && !self.budget.take(now) {
                        peer.give_back(is_trial);
                        tracing::warn!(function = %invocation.function, request_id = %invocation.id, "not made again: the retry budget is spent");
                        break;
                    }
                    if peer.is_itself() {
                        return self.call_here(invocation, arguments).await;
                    }
                    attempts += 1;
                    tracing::debug!(function = %invocation.function, request_id = %invocation.id, peer = %peer.url(), is_trial, attempt = attempts, "the call goes to this peer");
                    let answer = peer.call(&invocation, arguments.clone(), is_trial).await;
                    *executed = either(*executed, answer.executed());
                    let ran = answer.executed() == Some(true);
                    if let (true, Answer::Outcome(_, Some(who))) = (ran, &answer) {
                        *ran_on = Some(Arc::clone(who));
                    }
                    if answer.executed().is_none() {
                        self.repeats.lose(&invocation, peer.url().authority(), is_idempotent);
                    }
                    if says_not_found(&answer) {
                        peer.lacks(&invocation.function);
                    }
                    match answer {
                        Answer::Outcome(Err(failure), who) if may_go_on(&failure, is_idempotent) => {
                            let is_circle = failure.code == ErrorCode::LoopDetected;
                            let goes_on = !is_circle || may_go_round(&invocation, who.as_deref());
                            // What a peer says tells more than that another one says nothing.
                            if who.is_some() || !last_was_told {
                                last = Some(without_names(&invocation, failure));
                                last_was_told = who.is_some();
                            }
                            if is_circle {
                                circles.push(peer);
                            }
                            if goes_on { continue } else { break }
                        }
                        Answer::Outcome(outcome, served_by) => {
                            served_by
                                .filter(|_| ran)
                                .into_iter()
                                .for_each(|host| invocation.served_by.set(host));
                            return outcome;
                        }
                        Answer::Itself => {
                            self.tell_routes();
                            if self.has(&invocation.function) {
                                return self.call_here(invocation, arguments).await;
                            }
                            last = Some(self.not_found(&invocation));
                            continue;
                        }
                    }
                }
                Next::NotBefore(until) => {
                    last.get_or_insert_with(|| nobody(total));
                    until.max(now + jittered(pause))
                }
                Next::Exhausted => now + jittered(pause),
            };
            let is_circle = circles.len() >= total;
            if !waits || is_circle || attempts >= ATTEMPTS_MAX || again >= invocation.deadline.0 {
                break;
            }
            tokio::time::sleep_until(again.into()).await;
            pause = (pause * 2).min(PAUSE_MAX);
            // Decided anew: other peers may be known by now.
            match self.target_of(&invocation) {
                Target::Peers(peers) => left = peers,
                Target::Local(_) => return self.call_here(invocation, arguments).await,
                Target::Nowhere => break,
            }
            total = left.len();
            left.retain(|peer| !peer.is_unfound() && !circles.iter().any(|circle| Arc::ptr_eq(circle, peer)));
            if left.is_empty() {
                break;
            }
        }
        let failure = last.unwrap_or_else(|| nobody(total));
        let is_safe = *executed == Some(false) || is_idempotent;
        self.give_up(invocation, arguments, failure, is_safe).await
    }

    /// No peer ran the call: it runs here if that is configured, and it may.
    async fn give_up(
        &self,
        invocation: Arc<Invocation>,
        arguments: Bytes,
        failure: Box<Failure>,
        is_safe: bool,
    ) -> Outcome {
        if is_safe && self.falls_back(&invocation) {
            tracing::warn!(function = %invocation.function, request_id = %invocation.id, "no peer ran the call, so it runs here: fallback = \"local\"");
            return self.call_here(invocation, arguments).await;
        }
        Err(failure)
    }

    fn falls_back(&self, invocation: &Invocation) -> bool {
        self.routes().fallback == Fallback::Local && self.has(&invocation.function)
    }
}

/// Whether one of two attempts ran, if that is known.
fn either(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

/// Chooses among the peers that were not asked yet.
fn next(left: &[Arc<Peer>], invocation: &Invocation, now: Instant) -> Next {
    if let [only] = left {
        return match only.admit(now) {
            Admission::No(until) => Next::NotBefore(until),
            admission => Next::Peer(0, admission == Admission::Trial),
        };
    }
    let mut places: Vec<usize> = (0..left.len()).collect();
    let mut not_before = None;
    loop {
        places.retain(|place| match left[*place].look(now) {
            Admission::No(until) => {
                not_before = Some(not_before.map_or(until, |before: Instant| before.min(until)));
                false
            }
            _ => true,
        });
        let candidates: Vec<Candidate> = places.iter().map(|place| candidate(&left[*place], now)).collect();
        let here = places.iter().zip(&candidates).filter(|(place, _)| left[**place].is_itself());
        let here = here.map(|(_, candidate)| candidate.priority).min();
        if here.is_some() && here == candidates.iter().map(|candidate| candidate.priority).min() {
            let place = places.iter().find(|place| left[**place].is_itself());
            return place.map_or(Next::Exhausted, |place| Next::Peer(*place, false));
        }
        let picked = match &invocation.idempotency_key {
            // A repeat must come to the host that remembers the first one.
            Some(key) => {
                let names: Vec<&str> = places.iter().map(|place| left[*place].url().authority()).collect();
                pick_for(key, &names, &candidates)
            }
            None => pick(&candidates, (rand::random(), rand::random())),
        };
        let Some(picked) = picked else {
            return not_before.map_or(Next::Exhausted, Next::NotBefore);
        };
        match left[places[picked]].admit(now) {
            // Somebody else took the trial since.
            Admission::No(_) => places.swap_remove(picked),
            admission => return Next::Peer(places[picked], admission == Admission::Trial),
        };
    }
}

fn candidate(peer: &Peer, now: Instant) -> Candidate {
    Candidate { priority: peer.standing().priority, weight: peer.weight(now), load: peer.load(now) }
}

/// Whether the call may be made elsewhere: it provably did not run, or may run twice, and another host may do better.
fn may_go_on(failure: &Failure, is_idempotent: bool) -> bool {
    let is_safe = failure.executed == Some(false) || is_idempotent;
    let elsewhere = match failure.code {
        ErrorCode::Unavailable | ErrorCode::Overloaded | ErrorCode::NotFound | ErrorCode::LoopDetected => {
            true
        }
        // Of one peer that has another key than the others, or another version.
        ErrorCode::Unauthenticated | ErrorCode::Incompatible => is_idempotent,
        _ => false,
    };
    is_safe && elsewhere
}

/// Whether the peer itself says that it does not have the function.
fn says_not_found(answer: &Answer) -> bool {
    let Answer::Outcome(Err(failure), Some(_)) = answer else { return false };
    failure.code == ErrorCode::NotFound && failure.executed == Some(false)
}

/// Whether a call may go on to the next peer after `who` has answered that it went in a circle, or through too many hosts.
///
/// Where `who` is a host that the call came through, that way alone leads back. Any other has tried all ways that it
/// knows: then only the host where the call began tries another one. If each of them did, one call would become as many
/// as there are ways through all hosts.
fn may_go_round(invocation: &Invocation, who: Option<&str>) -> bool {
    invocation.hops.is_empty() || who.is_some_and(|who| invocation.hops.iter().any(|hop| &**hop == who))
}

/// A peer that lacks a function names others of its own, which a caller of this host may not be one to see.
fn without_names(invocation: &Invocation, failure: Box<Failure>) -> Box<Failure> {
    if failure.code != ErrorCode::NotFound || invocation.caller.name().is_none() {
        return failure;
    }
    let message = format!("the host that function `{}` runs on does not have it", invocation.function);
    Box::new(Failure { message, ..*failure })
}

fn nobody(peers: usize) -> Box<Failure> {
    let text = match peers {
        1 => "the peer that this function runs on has failed several times, and is left alone for a moment"
            .to_owned(),
        _ => format!(
            "all {peers} peers that this function runs on have failed several times, and are left alone for a moment"
        ),
    };
    Box::new(Failure::not_executed(ErrorCode::Unavailable, text))
}

/// Half of it to all of it: callers that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random::<f64>().mul_add(0.5, 0.5))
}
