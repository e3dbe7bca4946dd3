//! What peers offer, as far as others than the decision ask.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Router;
use crate::base::FunctionName;
use crate::peers::{Offered, Peer};

/// Most names of peers that are compared with one that is not there: a peer may have many, and long ones.
const COMPARED_MAX: usize = 500;
/// By how many bytes a name may be longer or shorter and still be near.
const LENGTH_DIFFERENCE_MAX: usize = 16;

/// The names that peers offer and that may be near to `name`, of those that `may_see` shows.
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

impl Router {
    /// The names of all functions that peers offer.
    #[must_use]
    pub fn offered_names(&self) -> BTreeSet<FunctionName> {
        let routes = self.routes();
        let catalogues = routes.all.peers.iter().filter_map(|peer| peer.offers());
        catalogues.flat_map(|catalogue| catalogue.names().cloned().collect::<Vec<_>>()).collect()
    }

    /// What the first of these peers that offers a function says of it.
    #[must_use]
    pub fn offered(&self, name: &FunctionName, peers: &[Arc<Peer>]) -> Option<Arc<Offered>> {
        peers.iter().find_map(|peer| peer.offered(name))
    }
}

/// Whether each of these peers says that a function may run twice. One that lies can only speak for itself.
pub(super) fn all_say_idempotent(name: &FunctionName, peers: &[Arc<Peer>]) -> bool {
    peers.iter().all(|peer| peer.says_idempotent(name))
}
