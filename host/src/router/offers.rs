//! Functions that peers offer, for uses other than the decision.

use std::sync::Arc;

use crate::base::FunctionName;
use crate::peers::Peer;

/// Maximum number of names of peers that are compared with a missing one: a peer may have many, and long ones.
const COMPARED_MAX: usize = 500;
/// Maximum difference in bytes between the lengths of similar names.
const LENGTH_DIFFERENCE_MAX: usize = 16;

/// Returns the names that peers offer, that may be similar to `name`, and that `may_see` shows.
pub(super) fn names_like(
    name: &FunctionName,
    peers: &[Arc<Peer>],
    may_see: impl Fn(&FunctionName) -> bool,
) -> Vec<FunctionName> {
    let length = name.as_str().len();
    let is_like = |offered: &&FunctionName| {
        *offered != name
            && offered.as_str().len().abs_diff(length) <= LENGTH_DIFFERENCE_MAX
            && may_see(offered)
    };
    let mut found = Vec::new();
    for catalogue in peers.iter().filter_map(|peer| peer.offers()) {
        let left = COMPARED_MAX - found.len();
        found.extend(catalogue.names().filter(is_like).take(left).cloned());
    }
    found
}

/// Returns true if each of these peers says that the function may run twice. A peer that lies speaks only for itself.
pub(super) fn all_say_idempotent(name: &FunctionName, peers: &[Arc<Peer>]) -> bool {
    peers.iter().all(|peer| peer.says_idempotent(name))
}
