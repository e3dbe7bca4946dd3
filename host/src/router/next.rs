//! The choice of the next peer, among the peers that were not asked yet.

use std::sync::Arc;
use std::time::Instant;

use super::balance::{PeerCandidate, pick, pick_for};
use crate::base::Invocation;
use crate::peers::{BreakerState, NoPermit, Peer, PeerPermit};

/// The next step of a call.
pub(super) enum Next {
    /// It goes to the peer with this index.
    Peer(usize, PeerPermit),
    /// A URL that leads back to this host is the best: the call runs here.
    Here,
    /// No peer is available before that time.
    NotBefore(Instant),
    /// Every available peer runs its maximum number of calls.
    Full,
    /// All were asked.
    Exhausted,
}

/// Chooses among the peers that were not asked yet.
pub(super) fn next(left: &[Arc<Peer>], invocation: &Invocation, now: Instant) -> Next {
    if let [only] = left
        && !only.is_itself()
    {
        return match only.acquire(now) {
            Ok(permit) => Next::Peer(0, permit),
            Err(NoPermit::NotBefore(until)) => Next::NotBefore(until),
            Err(NoPermit::Full) => Next::Full,
        };
    }
    let mut places: Vec<usize> = (0..left.len()).collect();
    let (mut not_before, mut is_full) = (None, false);
    loop {
        places.retain(|place| match look(&left[*place], now) {
            PeerLook::Open => true,
            PeerLook::Full => {
                is_full = true;
                false
            }
            PeerLook::NotBefore(until) => {
                not_before = Some(not_before.map_or(until, |before: Instant| before.min(until)));
                false
            }
        });
        let candidates: Vec<PeerCandidate> =
            places.iter().map(|place| candidate(&left[*place], now)).collect();
        let here = places.iter().zip(&candidates).filter(|(place, _)| left[**place].is_itself());
        let here = here.map(|(_, candidate)| candidate.priority).min();
        if here.is_some() && here == candidates.iter().map(|candidate| candidate.priority).min() {
            return Next::Here;
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
            return match not_before {
                Some(until) => Next::NotBefore(until),
                None if is_full => Next::Full,
                None => Next::Exhausted,
            };
        };
        match left[places[picked]].acquire(now) {
            Ok(permit) => return Next::Peer(places[picked], permit),
            // Another call took the trial, or the last permit, since.
            Err(NoPermit::NotBefore(_)) => {}
            Err(NoPermit::Full) => is_full = true,
        }
        places.swap_remove(picked);
    }
}

enum PeerLook {
    Open,
    Full,
    NotBefore(Instant),
}

fn look(peer: &Peer, now: Instant) -> PeerLook {
    match peer.breaker_state(now) {
        BreakerState::Open(until) => PeerLook::NotBefore(until),
        BreakerState::Closed if !peer.is_itself() && !peer.bulkhead().has_room() => PeerLook::Full,
        _ => PeerLook::Open,
    }
}

fn candidate(peer: &Peer, now: Instant) -> PeerCandidate {
    PeerCandidate { priority: peer.spec().rank.priority, weight: peer.weight(now), load: peer.load(now) }
}
