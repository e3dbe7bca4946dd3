//! The place that a call from outside has among the calls of the host, with all calls that are made within it.
//!
//! Such a place stands for work on this machine. A call that waits for a peer does none here, so its place goes to
//! another call meanwhile: what is slow elsewhere must not keep out what runs here. Those calls have a limit of their own,
//! at each peer.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::lock::{Mutex, MutexGuard};
use super::{Place, Places};

/// A place among the calls of the host; clones share it. A call that a plugin makes outside of any has none.
#[derive(Clone, Default)]
pub struct HostPlace(Option<Arc<Shared>>);

struct Shared {
    places: Arc<Places>,
    state: Mutex<State>,
    /// One of the places that calls of one function may have, of the function that runs here first.
    of_function: OnceLock<Place>,
}

#[derive(Debug)]
struct State {
    /// How many calls wait for a peer.
    away: usize,
    /// Nothing while some do.
    place: Option<Place>,
}

impl HostPlace {
    /// This place.
    #[must_use]
    pub fn new(place: Place) -> Self {
        let places = Arc::clone(place.places());
        let state = Mutex::new(State { away: 0, place: Some(place) });
        Self(Some(Arc::new(Shared { places, state, of_function: OnceLock::new() })))
    }

    /// Gives the place to other calls for as long as what this returns lives. It is taken again then, at once and
    /// beyond the limit if need be: the call that it is for runs already.
    pub fn lend(&self) -> Away {
        if let Some(shared) = &self.0 {
            let mut state = shared.state();
            state.away += 1;
            state.place = None;
        }
        Away(self.0.clone())
    }

    /// Takes a place among the calls of one function, unless the place has one by now: calls that are made within
    /// another one go along on that one's. Returns whether there was one.
    #[must_use]
    pub fn enter_function(&self, of_function: &Arc<Places>) -> bool {
        let Some(shared) = &self.0 else { return true };
        if shared.of_function.get().is_some() || !of_function.are_limited() {
            return true;
        }
        let Some(place) = of_function.try_enter() else {
            of_function.refuse();
            return false;
        };
        shared.of_function.get_or_init(|| place);
        true
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl fmt::Debug for HostPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostPlace")
    }
}

/// A call that waits for a peer, for as long as this lives.
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
        let mut state = shared.state();
        state.away -= 1;
        if state.away == 0 {
            state.place = Some(shared.places.enter_anyway());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PlaceLimit;

    fn places(in_flight_max: usize) -> Arc<Places> {
        Arc::new(Places::new(PlaceLimit { in_flight_max, queue_max: 0 }))
    }

    #[test]
    fn a_place_is_lent_while_any_call_within_is_away_and_taken_again_after_the_last() {
        let all = places(1);
        let place = HostPlace::new(all.try_enter().unwrap());
        assert!(all.try_enter().is_none());
        let (one, other) = (place.lend(), place.clone().lend());
        let lent = all.try_enter().expect("it is lent");
        drop(one);
        assert_eq!(all.running(), 1, "the other one still waits");
        drop(other);
        assert_eq!(all.running(), 2, "both run: one more than there are places");
        drop(lent);
        assert!(all.try_enter().is_none(), "what came back beyond the limit is paid first");
        drop(place);
        assert_eq!(all.running(), 0);
        assert!(all.try_enter().is_some());
    }

    #[test]
    fn what_ends_while_it_is_away_leaves_nothing_taken() {
        let all = places(2);
        let place = HostPlace::new(all.try_enter().unwrap());
        let away = place.lend();
        drop(place);
        drop(away);
        assert_eq!(all.running(), 0);
        drop((all.try_enter().unwrap(), all.try_enter().unwrap()));
        drop(HostPlace::default().lend());
    }

    #[test]
    fn the_calls_of_one_function_hold_their_part_until_the_place_is_given_back() {
        let (all, of_function, of_other) = (places(3), places(1), places(1));
        let enter = || HostPlace::new(all.try_enter().unwrap());
        let first = enter();
        assert!(first.enter_function(&of_function));
        assert!(
            first.enter_function(&of_function) && first.enter_function(&of_other),
            "calls within go along"
        );
        assert_eq!(of_other.running(), 0);
        let second = enter();
        assert!(!second.enter_function(&of_function));
        assert_eq!(of_function.reached(), 1);
        assert!(second.enter_function(&of_other), "another function has a part of its own");
        let clone = first.clone();
        drop(first);
        assert!(!enter().enter_function(&of_function), "something of the call goes on");
        drop(clone);
        assert!(enter().enter_function(&of_function));
        assert!(
            HostPlace::default().enter_function(&of_function),
            "a plugin's own calls have no place of the host"
        );
    }
}
