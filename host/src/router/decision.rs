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
    /// On one of these peers, in the order of the configuration. Never empty; the first one is another host,
    /// one of the others may stand for this one.
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
/// `configured` are the peers that `plugins.proxy.proxy_functions` names for it. One that leads back to this
/// host keeps its place in their order, so that all hosts of one config send a call to the same of them;
/// without the function here it counts for nothing.
#[must_use]
pub fn decide(name: &FunctionName, table: &Snapshot, configured: &[Arc<Peer>]) -> Target {
    let here = table.find(name.as_str());
    let serving = |peer: &&Arc<Peer>| here.is_some() || !peer.is_itself();
    let peers: Vec<_> = configured.iter().filter(serving).cloned().collect();
    match (peers.first(), here) {
        (Some(first), _) if !first.is_itself() => Target::Peers(peers),
        (_, Some(function)) => Target::Local(Arc::clone(function)),
        (_, None) => Target::Nowhere,
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
            format!("rule 1: plugins.proxy.proxy_functions says that it runs on {}", peer.url())
        });
    }
    match &target {
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
