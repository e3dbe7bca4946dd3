//! The choice among several peers: pure, with random numbers passed in.
//!
//! A call goes to the lowest priority that has an available peer. Two of its peers are drawn by weight, and the one
//! with less load gets the call ("power of two choices"), where load is the expected time of the next answer times the
//! number of calls that wait for one. Between peers of about the same load the draw decides, so that weights hold.

use sha2::{Digest, Sha256};

/// Factor by which the load of a peer must be higher before the other one is preferred.
const CLEARLY_MORE: f64 = 2.0;

/// A peer that may be asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PeerCandidate {
    /// Lower ones come first.
    pub(super) priority: u8,
    /// Above 0.
    pub(super) weight: f64,
    /// Expected seconds times calls that wait.
    pub(super) load: f64,
}

/// The place of the peer that a call goes to; nothing if there is none. `chances` are two numbers from 0 to 1.
pub(super) fn pick(candidates: &[PeerCandidate], chances: (f64, f64)) -> Option<usize> {
    let first_priority = candidates.iter().map(|candidate| candidate.priority).min()?;
    let group: Vec<usize> =
        (0..candidates.len()).filter(|place| candidates[*place].priority == first_priority).collect();
    let one = weighted(candidates, &group, chances.0)?;
    let others: Vec<usize> = group.into_iter().filter(|place| *place != one).collect();
    let Some(other) = weighted(candidates, &others, chances.1) else { return Some(one) };
    let is_worse = candidates[one].load > candidates[other].load * CLEARLY_MORE;
    Some(if is_worse { other } else { one })
}

/// Returns the index that every host picks for this key while the same peers are available ("rendezvous hashing").
pub(super) fn pick_for(key: &[u8], names: &[&str], candidates: &[PeerCandidate]) -> Option<usize> {
    let first_priority = candidates.iter().map(|candidate| candidate.priority).min()?;
    // A hash that is the same on every host: std's may be another one in each release.
    let score = |place: &usize| -> [u8; 32] {
        let name = names[*place].as_bytes();
        let digest = Sha256::new().chain_update((key.len() as u64).to_le_bytes());
        digest.chain_update(key).chain_update(name).finalize().into()
    };
    let group = (0..candidates.len()).filter(|place| candidates[*place].priority == first_priority);
    group.max_by_key(score)
}

fn weighted(candidates: &[PeerCandidate], places: &[usize], chance: f64) -> Option<usize> {
    let sum: f64 = places.iter().map(|place| candidates[*place].weight).sum();
    let mut left = chance * sum;
    let chosen = places.iter().find(|place| {
        left -= candidates[**place].weight;
        left < 0.0
    });
    chosen.or(places.last()).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(priority: u8, weight: f64, load: f64) -> PeerCandidate {
        PeerCandidate { priority, weight, load }
    }

    /// Returns the share of picks of each index, over all chances on a grid.
    fn shares(candidates: &[PeerCandidate]) -> Vec<f64> {
        const STEPS: u32 = 100;
        let mut picked = vec![0.0; candidates.len()];
        for one in 0..STEPS {
            for other in 0..STEPS {
                let chance = |step: u32| f64::from(step) / f64::from(STEPS);
                let place = pick(candidates, (chance(one), chance(other))).unwrap();
                picked[place] += 1.0 / f64::from(STEPS * STEPS);
            }
        }
        picked
    }

    #[test]
    fn weights_decide_between_peers_of_about_the_same_load() {
        let shares = shares(&[candidate(0, 3.0, 0.01), candidate(0, 1.0, 0.015)]);
        assert!((shares[0] - 0.75).abs() < 0.01, "{shares:?}");
    }

    #[test]
    fn a_peer_of_clearly_more_load_gets_nothing_beside_another_and_less_among_several() {
        let two = shares(&[candidate(0, 1.0, 0.1), candidate(0, 1.0, 0.01)]);
        assert!(two[0] == 0.0 && two[1] > 0.99, "{two:?}");
        let shares = shares(&[candidate(0, 1.0, 9.0), candidate(0, 1.0, 0.01), candidate(0, 1.0, 0.01)]);
        assert!(shares[0] < 0.01 && shares[1] > 0.4, "{shares:?}");
    }

    #[test]
    fn a_later_priority_serves_only_where_no_earlier_one_does() {
        let two = shares(&[candidate(1, 9.0, 0.0), candidate(0, 1.0, 99.0)]);
        assert!(two[0] == 0.0 && two[1] > 0.99, "{two:?}");
        assert_eq!(pick(&[candidate(7, 1.0, 1.0)], (0.5, 0.5)), Some(0));
        assert_eq!(pick(&[], (0.5, 0.5)), None);
    }

    #[test]
    fn a_key_stays_with_its_peer_when_others_go() {
        let all = [candidate(0, 1.0, 0.0); 4];
        let names = ["a", "b", "c", "d"];
        for key in 0_u32..50 {
            let key = key.to_be_bytes();
            let chosen = names[pick_for(&key, &names, &all).unwrap()];
            let left: Vec<&str> =
                names.iter().copied().filter(|name| *name == chosen || *name < "c").collect();
            assert_eq!(left[pick_for(&key, &left, &all[..left.len()]).unwrap()], chosen);
        }
    }

    #[test]
    fn a_key_picks_the_same_peer_in_every_build() {
        let names = ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"];
        let all = [candidate(0, 1.0, 0.0); 3];
        let picked: Vec<usize> = ["order-1", "order-2", "order-3", "order-4", "order-5", "order-6"]
            .into_iter()
            .map(|key| pick_for(key.as_bytes(), &names, &all).unwrap())
            .collect();
        // By another implementation of the same.
        assert_eq!(picked, [0, 0, 1, 2, 0, 1]);
    }

    proptest! {
        #[test]
        fn what_is_picked_is_of_the_first_priority(
            candidates in proptest::collection::vec((0_u8..3, 0.1_f64..10.0, 0.0_f64..10.0), 1..8),
            one in 0.0_f64..1.0,
            other in 0.0_f64..1.0,
        ) {
            let candidates: Vec<PeerCandidate> =
                candidates.into_iter().map(|(priority, weight, load)| candidate(priority, weight, load)).collect();
            let place = pick(&candidates, (one, other)).unwrap();
            let first = candidates.iter().map(|candidate| candidate.priority).min();
            prop_assert_eq!(Some(candidates[place].priority), first);
        }
    }
}
