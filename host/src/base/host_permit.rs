//! The permit that a call from outside has among the calls of the host, with all calls that are made within it.
//!
//! Such a permit stands for work on this machine. A call that waits for a peer does none here, so its permit goes to
//! another call meanwhile: what is slow elsewhere must not keep out what runs here. Those calls have a limit of their own,
//! at each peer.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::lock::Mutex;
use super::{Limiter, Permit};

/// A permit among the calls of the host; clones share it. A call that a plugin makes outside of any has none.
#[derive(Clone, Default)]
pub struct HostPermit(Option<Arc<Shared>>);

struct Shared {
    limiter: Arc<Limiter>,
    state: Mutex<Lending>,
    /// The permit from the share of one function, of the function that runs here first.
    share: OnceLock<Permit>,
}

#[derive(Debug)]
struct Lending {
    /// The number of calls that wait for a peer.
    away: usize,
    /// `None` while some do.
    permit: Option<Permit>,
}

impl HostPermit {
    /// Creates it from a permit of the host.
    pub fn new(permit: Permit) -> Self {
        let limiter = Arc::clone(permit.limiter());
        let state = Mutex::new(Lending { away: 0, permit: Some(permit) });
        Self(Some(Arc::new(Shared { limiter, state, share: OnceLock::new() })))
    }

    /// Gives the permit to other calls for as long as the returned guard lives. It is taken again then, at once and
    /// beyond the limit if need be: the call that it is for runs already.
    pub fn lend(&self) -> Away {
        if let Some(shared) = &self.0 {
            let mut state = shared.state.lock();
            state.away += 1;
            state.permit = None;
        }
        Away(self.0.clone())
    }

    /// Takes a permit from the share of one function, unless the call has one by now: nested calls run on the permit of
    /// the outer one. Returns false if none is free.
    pub fn take_share(&self, of_function: &Arc<Limiter>) -> bool {
        let Some(shared) = &self.0 else { return true };
        if shared.share.get().is_some() || !of_function.is_limited() {
            return true;
        }
        let Some(permit) = of_function.try_acquire() else {
            of_function.count_rejection();
            return false;
        };
        shared.share.get_or_init(|| permit);
        true
    }
}

impl fmt::Debug for HostPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostPermit")
    }
}

/// Keeps the permit of a call that waits for a peer with other calls until it drops.
#[must_use]
pub struct Away(Option<Arc<Shared>>);

impl fmt::Debug for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Away")
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let Some(shared) = &self.0 else { return };
        let mut state = shared.state.lock();
        state.away -= 1;
        if state.away == 0 {
            state.permit = Some(shared.limiter.acquire_anyway());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ConcurrencyLimit;

    fn limiter(in_flight_max: usize) -> Arc<Limiter> {
        Arc::new(Limiter::new(ConcurrencyLimit { in_flight_max, queue_max: 0 }))
    }

    #[test]
    fn a_permit_is_lent_while_any_call_within_is_away_and_taken_again_after_the_last() {
        let all = limiter(1);
        let permit = HostPermit::new(all.try_acquire().unwrap());
        assert!(all.try_acquire().is_none());
        let (one, other) = (permit.lend(), permit.clone().lend());
        let lent = all.try_acquire().expect("it is lent");
        drop(one);
        assert_eq!(all.running(), 1, "the other one still waits");
        drop(other);
        assert_eq!(all.running(), 2, "both run: one more than there are permits");
        drop(lent);
        assert!(all.try_acquire().is_none(), "one is taken again, beyond the limit until the other ends");
        drop(permit);
        assert_eq!(all.running(), 0);
        assert!(all.try_acquire().is_some());
    }

    #[test]
    fn what_ends_while_it_is_away_leaves_nothing_taken() {
        let all = limiter(2);
        let permit = HostPermit::new(all.try_acquire().unwrap());
        let away = permit.lend();
        drop(permit);
        drop(away);
        assert_eq!(all.running(), 0);
        drop((all.try_acquire().unwrap(), all.try_acquire().unwrap()));
        drop(HostPermit::default().lend());
    }

    #[test]
    fn the_calls_of_one_function_hold_their_share_until_the_permit_is_given_back() {
        let (all, of_function, of_other) = (limiter(3), limiter(1), limiter(1));
        let enter = || HostPermit::new(all.try_acquire().unwrap());
        let first = enter();
        assert!(first.take_share(&of_function));
        assert!(first.take_share(&of_function) && first.take_share(&of_other), "calls within go along");
        assert_eq!(of_other.running(), 0);
        let second = enter();
        assert!(!second.take_share(&of_function));
        assert_eq!(of_function.rejected(), 1);
        assert!(second.take_share(&of_other), "another function has a share of its own");
        let clone = first.clone();
        drop(first);
        assert!(!enter().take_share(&of_function), "something of the call goes on");
        drop(clone);
        assert!(enter().take_share(&of_function));
        assert!(
            HostPermit::default().take_share(&of_function),
            "a plugin's own calls have no permit of the host"
        );
    }
}
