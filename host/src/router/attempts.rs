//! Carries a call to one of several peers, and on to the next one where that is safe.
//!
//! A call goes on to the next peer, and in the end to the body here where that is configured, only if it provably did
//! not run; a call of an idempotent function also if it may have run. Every retry takes from the retry budget, and is
//! made only where it may have another result ([`Cure`]).
//!
//! If time may help, the call waits for a peer to come back, with a permit for waiting calls only: it holds nothing
//! that others need.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::idempotency::outcomes::SentTo;
use super::next::{Next, next};
use super::offers::all_say_idempotent;
use super::{Router, Target};
use crate::base::{
    ErrorCode, Executed, Failure, FunctionName, HostId, Invocation, Outcome, Permit, jittered,
};
use crate::config::Fallback;
use crate::peers::{Cure, Peer, PeerAnswer, PeerLimit, PeerPermit, PeerResult};

/// Maximum number of attempts per call.
const ATTEMPTS_MAX: u32 = 10;
/// Pause before all peers are asked once more, first and longest.
const PAUSE_FIRST: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The end of calling peers.
enum AttemptsEnd {
    /// With this outcome.
    With(Outcome),
    /// The call runs here.
    Here,
}

/// The result of one round over all available peers.
enum Round {
    /// The call has ended.
    Ended(AttemptsEnd),
    /// No peer is left to ask, and none is worth waiting for.
    Over,
    /// Time may help; no peer is available before that moment.
    MayHelp(Instant),
}

/// The attempts of one call, from peer to peer.
struct Attempts<'a> {
    router: &'a Router,
    invocation: Arc<Invocation>,
    arguments: Bytes,
    is_idempotent: bool,
    made: u32,
    /// Says if any attempt ran so far.
    executed: Executed,
    /// The host that ran the last such attempt: another peer may have refused the call after that.
    ran_on: Option<HostId>,
    /// Peers that reported a loop. Waiting would not change that.
    circles: Vec<Arc<Peer>>,
    last: Option<Box<Failure>>,
    last_was_told: bool,
    pause: Duration,
    waiting: Option<PeerWait>,
}

/// A call that waits for a peer to come back.
struct PeerWait {
    /// The start of the first wait.
    since: Instant,
    /// A permit for waiting; `None` while an attempt is made.
    permit: Option<Permit>,
}

impl Router {
    /// Calls one of `peers`.
    pub(super) async fn call_peers(
        self: Arc<Self>,
        peers: Vec<Arc<Peer>>,
        invocation: Arc<Invocation>,
        arguments: Bytes,
    ) -> Outcome {
        let here = self.table().snapshot().find(invocation.function.as_str()).cloned();
        // The time limit of a function holds on every host.
        let invocation = invocation.within(here.as_ref().and_then(|here| here.timeout));
        let is_idempotent =
            here.map_or_else(|| all_say_idempotent(&invocation.function, &peers), |here| here.idempotent);
        self.budget.called();
        // A call that runs on another machine needs no permit of this one.
        let away = invocation.host_permit.lend();
        let mut attempts = Attempts {
            router: &self,
            invocation,
            arguments,
            is_idempotent,
            made: 0,
            executed: Executed::No,
            ran_on: None,
            circles: Vec::new(),
            last: None,
            last_was_told: false,
            pause: PAUSE_FIRST,
            waiting: None,
        };
        let ended = attempts.make(peers).await;
        drop((away, attempts.waiting.take()));
        let Attempts { invocation, arguments, executed, ran_on, .. } = attempts;
        let served_by = invocation.served_by.clone();
        let outcome = match ended {
            AttemptsEnd::With(outcome) => outcome,
            AttemptsEnd::Here => self.call_here(invocation, arguments).await,
        };
        if outcome.as_ref().is_err_and(|failure| failure.executed != Executed::Yes) {
            ran_on.into_iter().for_each(|host| served_by.set(host));
        }
        // The result covers all attempts: a peer that refuses the last one does not know the others.
        outcome.map_err(|failure| Box::new(Failure { executed: executed.or(failure.executed), ..*failure }))
    }

    fn falls_back(&self, invocation: &Invocation) -> bool {
        self.routes().fallback == Fallback::Local && self.has(&invocation.function)
    }
}

impl Attempts<'_> {
    /// Asks peers, round by round, while that may help.
    async fn make(&mut self, peers: Vec<Arc<Peer>>) -> AttemptsEnd {
        let mut peers = peers;
        loop {
            peers.retain(|peer| !self.circles.iter().any(|circle| Arc::ptr_eq(circle, peer)));
            if peers.is_empty() {
                return self.give_up();
            }
            match self.ask_each(peers.clone()).await {
                Round::Ended(ended) => return ended,
                Round::Over => return self.give_up(),
                Round::MayHelp(not_before) => {
                    if !self.wait(&peers, not_before).await {
                        return self.give_up();
                    }
                }
            }
            // Decided again: other peers may be known by now.
            match self.router.target_of(&self.invocation) {
                Target::Peers(now) => peers = now,
                Target::Local(_) => return AttemptsEnd::Here,
                Target::Pending(_) | Target::Nowhere => return self.give_up(),
            }
        }
    }

    /// Asks the available peers, one after the other.
    async fn ask_each(&mut self, mut left: Vec<Arc<Peer>>) -> Round {
        let mut may_help = false;
        loop {
            let now = Instant::now();
            match next(&left, &self.invocation, now) {
                Next::Here => return Round::Ended(AttemptsEnd::Here),
                Next::Peer(place, permit) => {
                    let peer = left.swap_remove(place);
                    if !self.may_attempt(now) {
                        return Round::Over;
                    }
                    match self.ask(&peer, permit).await {
                        Ok(cure) => may_help |= cure == Cure::Time,
                        Err(ended) => return Round::Ended(ended),
                    }
                }
                Next::NotBefore(until) => {
                    let function = &self.invocation.function;
                    self.last.get_or_insert_with(|| paused(function, &left, until.max(now) - now));
                    // A failure that time does not cure shows in other calls.
                    may_help |= left.iter().any(|peer| peer.may_recover());
                    return if may_help { Round::MayHelp(until) } else { Round::Over };
                }
                Next::Full if may_help => return Round::MayHelp(now),
                Next::Full => {
                    left.iter().for_each(|peer| peer.limit(PeerLimit::InFlight));
                    self.last = Some(full(&self.invocation.function));
                    return Round::Over;
                }
                Next::Exhausted => return if may_help { Round::MayHelp(now) } else { Round::Over },
            }
        }
    }

    /// Returns true if an attempt may be made, the first one or a retry.
    fn may_attempt(&self, now: Instant) -> bool {
        if self.made >= ATTEMPTS_MAX {
            return false;
        }
        if self.made > 0 && !self.router.budget.take(now) {
            let Invocation { function, id, .. } = &*self.invocation;
            tracing::warn!(%function, request_id = %id, "not made again: the retry budget is spent");
            return false;
        }
        true
    }

    /// Makes the call at one peer. If it failed and may be made elsewhere, returns the cure.
    async fn ask(&mut self, peer: &Arc<Peer>, permit: PeerPermit) -> Result<Cure, AttemptsEnd> {
        let invocation = Arc::clone(&self.invocation);
        let Invocation { function, id, .. } = &*invocation;
        self.made += 1;
        if let Some(waiting) = &mut self.waiting {
            waiting.permit = None;
        }
        tracing::debug!(%function, request_id = %id, peer = %peer.url(), is_trial = permit.is_trial(), attempt = self.made, "the call goes to this peer");
        let arguments = self.arguments.clone();
        let PeerResult { answer, cure, sent_to } = peer.call(&invocation, arguments, permit, None).await;
        self.executed = self.executed.or(answer.executed());
        let ran = answer.executed() == Executed::Yes;
        if let (true, PeerAnswer::Outcome(_, Some(who))) = (ran, &answer) {
            self.ran_on = Some(Arc::clone(who));
        }
        if answer.executed() == Executed::Unknown {
            let sent = SentTo { authority: peer.url().authority().into(), host: sent_to };
            self.router.outcomes.mark_unknown(&invocation, sent, self.is_idempotent);
        }
        if says_not_found(&answer) {
            peer.lacks(function);
        }
        match answer {
            PeerAnswer::Outcome(Err(failure), who) if may_go_on(&failure, cure, self.is_idempotent) => {
                let is_circle = failure.code == ErrorCode::LoopDetected;
                let goes_on = !is_circle || may_go_round(&invocation, who.as_deref());
                // The answer of a peer tells more than the silence of another.
                if who.is_some() || !self.last_was_told {
                    self.last = Some(without_names(&invocation, failure));
                    self.last_was_told = who.is_some();
                }
                if is_circle {
                    self.circles.push(Arc::clone(peer));
                }
                if goes_on { Ok(cure) } else { Err(self.give_up()) }
            }
            PeerAnswer::Outcome(outcome, served_by) => {
                served_by.filter(|_| ran).into_iter().for_each(|host| invocation.served_by.set(host));
                Err(AttemptsEnd::With(outcome))
            }
            PeerAnswer::Itself => {
                self.router.tell_routes();
                if self.router.has(function) {
                    return Err(AttemptsEnd::Here);
                }
                self.last = Some(self.router.not_found(&invocation));
                Ok(cure)
            }
        }
    }

    /// Waits, with a permit for waiting calls, until `peers` may be asked again; returns false if they may not.
    async fn wait(&mut self, peers: &[Arc<Peer>], not_before: Instant) -> bool {
        let invocation = Arc::clone(&self.invocation);
        let longest = self.router.routes().wait;
        // A call that may have run waits only if it may run twice. The same holds for one that a peer has answered: that
        // peer is not away, and its answer is news to the caller. A call that may run here does not wait at all.
        let may_wait = self.is_idempotent || (self.executed == Executed::No && !self.last_was_told);
        if longest.is_zero() || !may_wait || self.made >= ATTEMPTS_MAX || self.router.falls_back(&invocation)
        {
            return false;
        }
        let now = Instant::now();
        let waiting = self.waiting.get_or_insert(PeerWait { since: now, permit: None });
        let until = waiting.since + longest;
        if now >= until {
            peers.iter().for_each(|peer| peer.limit(PeerLimit::WaitTime));
            return false;
        }
        if waiting.permit.is_none() {
            waiting.permit = peers.iter().find_map(|peer| peer.bulkhead().wait());
        }
        if waiting.permit.is_none() {
            peers.iter().for_each(|peer| peer.limit(PeerLimit::Waiting));
            self.last = Some(queue_full(&invocation.function));
            return false;
        }
        let soonest = now + jittered(self.pause);
        // Looks at intervals, as the peer may become ready before that, or discovery may find another one.
        let again = not_before.clamp(soonest, soonest.max(now + jittered(PAUSE_MAX))).min(until);
        if again >= invocation.deadline.0 {
            return false;
        }
        tokio::time::sleep_until(again.into()).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }

    /// Handles a call that no peer ran: it runs here if that is configured, and it may.
    fn give_up(&mut self) -> AttemptsEnd {
        let Self { invocation, executed, is_idempotent, last, .. } = self;
        let is_safe = *executed == Executed::No || *is_idempotent;
        if is_safe && self.router.falls_back(invocation) {
            tracing::warn!(function = %invocation.function, request_id = %invocation.id, "no peer ran the call, so it runs here: fallback = \"local\"");
            return AttemptsEnd::Here;
        }
        AttemptsEnd::With(Err(last
            .take()
            .unwrap_or_else(|| paused(&invocation.function, &[], Duration::ZERO))))
    }
}

/// Returns true if the call may be made elsewhere: it provably did not run, or may run twice, and a retry may help.
fn may_go_on(failure: &Failure, cure: Cure, is_idempotent: bool) -> bool {
    let is_safe = failure.executed == Executed::No || is_idempotent;
    is_safe && cure > Cure::Nothing
}

/// Returns true if the peer itself says that it does not have the function.
fn says_not_found(answer: &PeerAnswer) -> bool {
    let PeerAnswer::Outcome(Err(failure), Some(_)) = answer else { return false };
    failure.code == ErrorCode::NotFound && failure.executed == Executed::No
}

/// Returns true if a call may go on to the next peer after `who` reported a loop, or too many hosts on the way.
///
/// If the call came through `who`, only that way leads back. Any other host has tried all ways that it knows: then only
/// the host where the call began tries another one. If each of them did, one call would become as many as there are
/// ways through all hosts.
fn may_go_round(invocation: &Invocation, who: Option<&str>) -> bool {
    invocation.hops.is_empty() || who.is_some_and(|who| invocation.hops.iter().any(|hop| &**hop == who))
}

/// Hides the names in the failure of a peer that lacks a function: a caller of this host may not see all of them.
fn without_names(invocation: &Invocation, failure: Box<Failure>) -> Box<Failure> {
    if failure.code != ErrorCode::NotFound || invocation.caller.name().is_none() {
        return failure;
    }
    let message = format!("the host that function `{}` runs on does not have it", invocation.function);
    Box::new(Failure { message, ..*failure })
}

/// Returns the failure for peers that are all paused, with the time that is left.
fn paused(function: &FunctionName, peers: &[Arc<Peer>], left: Duration) -> Box<Failure> {
    let which = match peers.len() {
        0 | 1 => format!("the peer that function `{function}` runs on is"),
        several => format!("all {several} peers that function `{function}` runs on are"),
    };
    let cause = peers.iter().find_map(|peer| peer.history().failing_of());
    let cause = cause.map(|cause| format!("; the last: it {}", cause.predicate())).unwrap_or_default();
    let text = format!("{which} paused for {:.1} s after failures{cause}", left.as_secs_f64());
    Box::new(Failure::not_executed(ErrorCode::Unavailable, text))
}

fn full(function: &FunctionName) -> Box<Failure> {
    let text = format!(
        "the peer of function `{function}` runs as many calls as it may ([plugins.proxy] in_flight_max)"
    );
    Box::new(Failure::not_executed(ErrorCode::Overloaded, text))
}

fn queue_full(function: &FunctionName) -> Box<Failure> {
    let text = format!(
        "the peer of function `{function}` is away, and its queue is full ([plugins.proxy] in_flight_max)"
    );
    Box::new(Failure::not_executed(ErrorCode::Unavailable, text))
}
