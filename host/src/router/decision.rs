//! The decision itself: a pure function of what is configured, published and known of peers (DESIGN section 5).

use std::sync::Arc;

use crate::base::{FunctionName, nearest};
use crate::functions::{Function, Snapshot};
use crate::peers::Peer;

/// Where a call runs.
#[derive(Debug, Clone)]
pub enum Target {
    /// In a plugin of this host.
    Local(Arc<Function>),
    /// On one of these peers, in the order of the configuration. Never empty; one that stands for this host has a
    /// higher priority than another.
    Peers(Vec<Arc<Peer>>),
    /// Nowhere: no such function.
    Nowhere,
}

/// Where a call runs, and why: what `explain` prints.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Where.
    pub target: Target,
    /// One sentence for each step.
    pub because: Vec<String>,
}

/// Decides where a function runs.
///
/// `configured` are the peers that `plugins.proxy.proxy_functions` names for it. One of them that leads back to this
/// host stands for the function here: it runs here if none of the others has a lower priority.
#[must_use]
pub fn decide(name: &FunctionName, table: &Snapshot, configured: &[Arc<Peer>]) -> Target {
    let here = table.find(name.as_str());
    let serving = |peer: &&Arc<Peer>| here.is_some() || !peer.is_itself();
    let peers: Vec<_> = configured.iter().filter(serving).cloned().collect();
    let first_priority = peers.iter().map(|peer| peer.standing().priority).min();
    let is_first = |peer: &Arc<Peer>| peer.is_itself() && Some(peer.standing().priority) == first_priority;
    match here {
        Some(function) if peers.is_empty() || peers.iter().any(is_first) => {
            Target::Local(Arc::clone(function))
        }
        _ if peers.is_empty() => Target::Nowhere,
        _ => Target::Peers(peers),
    }
}

/// The decision in words.
#[must_use]
pub(super) fn explain(name: &FunctionName, table: &Snapshot, configured: &[Arc<Peer>]) -> Decision {
    let target = decide(name, table, configured);
    let mut because = Vec::new();
    if configured.is_empty() {
        because.push("rule 1: plugins.proxy.proxy_functions does not name it under any peer".to_owned());
    }
    for peer in configured {
        because.push(if peer.is_itself() {
            format!(
                "rule 1: it is configured for {}, which leads back to this very host, so it counts as here",
                peer.url()
            )
        } else {
            format!(
                "rule 1: plugins.proxy.proxy_functions says that it runs on {}: {}",
                peer.url(),
                peer.describe()
            )
        });
    }
    match &target {
        Target::Peers(peers) if peers.len() > 1 => because.push(
            "rule 1: of two of them that chance names by their weights, a call goes to the one of less load"
                .to_owned(),
        ),
        Target::Peers(_) => {}
        Target::Local(function) => because.push(format!(
            "rule 2: plugin `{}`, generation {}, has it here",
            function.plugin, function.generation
        )),
        Target::Nowhere => {
            because.push("rule 2: no published plugin of this host has it".to_owned());
            let near = nearest(name.as_str(), table.names(), 3);
            if !near.is_empty() {
                because.push(format!("rule 4: the nearest names are `{}`", near.join("`, `")));
            }
        }
    }
    Decision { target, because }
}
