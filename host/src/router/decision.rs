//! Decides where a call runs: a pure function of what is configured, published and known of peers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::base::{FunctionName, HostId, nearest};
use crate::config::{Fallback, PeerUrl};
use crate::functions::{Function, Snapshot};
use crate::peers::{BreakerState, Peer, PeerSpec};

/// The target of a call.
#[derive(Debug, Clone)]
pub enum Target {
    /// In a plugin of this host.
    Local(Arc<Function>),
    /// On one of these peers, in the order of the configuration. Never empty; one that stands for this host has a
    /// higher priority than another. They are configured for it, or else offer it.
    Peers(Vec<Arc<Peer>>),
    /// On the peers behind this URL of the config, of which discovery has found none yet.
    Pending(PeerUrl),
    /// Nowhere: no such function.
    Nowhere,
}

/// A decision and its reasons: the output of `explain`.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The target.
    pub target: Target,
    /// The function that runs here if the peers have not run the call.
    pub fallback: Option<Arc<Function>>,
    /// One sentence for each step.
    pub because: Vec<String>,
}

impl Target {
    /// Returns the peer that gets calls now, or one of them: the first available one of the lowest priority; the first
    /// of all if none is available.
    pub fn first_peer(&self, now: Instant) -> Option<&Arc<Peer>> {
        let Self::Peers(peers) = self else { return None };
        let is_put_off = |peer: &Peer| matches!(peer.breaker_state(now), BreakerState::Open(_));
        peers.iter().min_by_key(|peer| (peer.is_itself(), is_put_off(peer), peer.spec().rank.priority))
    }
}

/// The input of a decision besides the table: nothing here changes while the decision is made.
#[derive(Debug, Clone, Copy)]
pub struct Ways<'a> {
    /// The peers that `plugins.proxy.proxy_functions` names for the function, in its order.
    pub configured: &'a [Arc<Peer>],
    /// The configured peers that discovery has not found yet.
    pub pending: &'a [Arc<PeerSpec>],
    /// All peers, whose catalogues may offer it.
    pub peers: &'a [Arc<Peer>],
    /// The hosts that the call has been on.
    pub hops: &'a [HostId],
    /// The rule for calls that the peers have not run.
    pub fallback: Fallback,
}

/// Decides where a function runs.
///
/// A configured peer that leads back to this host stands for the function here: it runs here if none of the others has a
/// lower priority. Where neither the config nor the table has it, it runs on the peers whose catalogues offer it, but for
/// the peers that the call has been on: two hosts that each believe the other has it would send it in a circle.
pub fn decide(name: &FunctionName, table: &Snapshot, ways: Ways<'_>) -> Target {
    let here = table.find(name.as_str());
    let serving = |peer: &&Arc<Peer>| here.is_some() || !peer.is_itself();
    let peers: Vec<_> = ways.configured.iter().filter(serving).cloned().collect();
    let first_priority = peers.iter().map(|peer| peer.spec().rank.priority).min();
    let is_first = |peer: &Arc<Peer>| peer.is_itself() && Some(peer.spec().rank.priority) == first_priority;
    match here {
        Some(function) if peers.iter().any(is_first) => Target::Local(Arc::clone(function)),
        _ if !peers.is_empty() => Target::Peers(peers),
        _ if !ways.pending.is_empty() => Target::Pending(ways.pending[0].url.clone()),
        Some(function) => Target::Local(Arc::clone(function)),
        None => {
            let offers = |peer: &&Arc<Peer>| peer.offers_to(name, ways.hops);
            let offering: Vec<_> = ways.peers.iter().filter(offers).cloned().collect();
            if offering.is_empty() { Target::Nowhere } else { Target::Peers(offering) }
        }
    }
}

/// The consequence for a URL at which no host has answered yet.
const OR_HERE: &str =
    "; should its first answer show that it leads back to this very host, it counts as here";

/// The decision in words.
pub(super) fn explain(name: &FunctionName, table: &Snapshot, ways: Ways<'_>) -> Decision {
    let target = decide(name, table, ways);
    let mut because = Vec::new();
    if ways.configured.is_empty() && ways.pending.is_empty() {
        because.push("rule 1: plugins.proxy.proxy_functions does not name it under any peer".to_owned());
    }
    for peer in ways.configured {
        because.push(if peer.is_itself() {
            format!(
                "rule 1: it is configured for {}, which leads back to this very host, so it counts as here",
                peer.url()
            )
        } else {
            format!(
                "rule 1: plugins.proxy.proxy_functions says that it runs on {}: {}{}{}",
                peer.url(),
                peer.describe(),
                peer.describe_lack(name),
                if peer.last_responder().is_none() { OR_HERE } else { "" }
            )
        });
    }
    because.extend(ways.pending.iter().map(|pending| {
        format!(
            "rule 1: plugins.proxy.proxy_functions says that it runs on {}: none of the peers behind it has been found yet",
            pending.url
        )
    }));
    let is_here = ways.pending.is_empty() && ways.configured.iter().all(|peer| peer.is_itself());
    let rule: u8 = if is_here { 3 } else { 1 };
    match &target {
        Target::Local(function) => because.push(format!(
            "rule 2: plugin `{}`, generation {}, has it here",
            function.plugin, function.generation
        )),
        Target::Peers(_) | Target::Pending(_) if rule == 1 => {}
        Target::Peers(_) | Target::Pending(_) | Target::Nowhere => {
            because.push("rule 2: no published plugin of this host has it".to_owned());
            because.extend(explain_offers(name, ways));
        }
    }
    match &target {
        Target::Peers(peers) => because.extend(explain_order(rule, peers, target.first_peer(Instant::now()))),
        Target::Nowhere => {
            let offered = super::offers::names_like(name, ways.peers, |_| true);
            let known = table.names().chain(offered.iter().map(FunctionName::as_str));
            let near = nearest(name.as_str(), known.collect::<BTreeSet<&str>>(), 3);
            if !near.is_empty() {
                because.push(format!("rule 4: the nearest names are `{}`", near.join("`, `")));
            }
        }
        Target::Local(_) | Target::Pending(_) => {}
    }
    let fallback = falls_back(name, table, ways.fallback, &target);
    if let Some(function) = &fallback {
        let ran = if function.idempotent { "no peer has answered" } else { "provably no peer has run" };
        because.push(format!(
            "fallback = \"local\": a call that {ran} runs here: plugin `{}`, generation {}, has it",
            function.plugin, function.generation
        ));
    }
    Decision { target, fallback, because }
}

fn falls_back(
    name: &FunctionName,
    table: &Snapshot,
    fallback: Fallback,
    target: &Target,
) -> Option<Arc<Function>> {
    let may = fallback == Fallback::Local && matches!(target, Target::Peers(_) | Target::Pending(_));
    table.find(name.as_str()).filter(|_| may).cloned()
}

/// Explains the choice among several peers.
fn explain_order(rule: u8, peers: &[Arc<Peer>], first: Option<&Arc<Peer>>) -> Vec<String> {
    let mut because = Vec::new();
    let priorities: BTreeSet<u8> = peers.iter().map(|peer| peer.spec().rank.priority).collect();
    let (Some(lowest), Some(now)) = (priorities.first(), first.map(|first| first.spec().rank.priority))
    else {
        return because;
    };
    if priorities.len() > 1 {
        because.push(format!(
            "rule {rule}: peers of priority {lowest} are asked first, those of a higher one only where these may not be \
             asked or could not run it"
        ));
    }
    if now > *lowest {
        because.push(format!("rule {rule}: at present none of a lower priority than {now} may be asked"));
    }
    if peers.iter().filter(|peer| peer.spec().rank.priority == now).count() > 1 {
        because.push(format!(
            "rule {rule}: of two peers of priority {now}, drawn by weight, the peer with less load gets the call"
        ));
    }
    because
}

/// Rule 3, a sentence for each peer that has to do with it.
fn explain_offers(name: &FunctionName, ways: Ways<'_>) -> Vec<String> {
    let (mut because, mut asked, mut silent) = (Vec::new(), 0, 0);
    for peer in ways.peers.iter().filter(|peer| peer.spec().probes.catalogue && !peer.is_itself()) {
        asked += 1;
        let (url, checks) = (peer.url(), peer.info().last_checks());
        let fetched = checks.fetched.map(|moment| moment.ago()).unwrap_or_default();
        if peer.offers_to(name, ways.hops) {
            let kept = checks.failure.map(|(moment, reason)| {
                format!(", kept though it could not be fetched again {}: {reason}", moment.ago())
            });
            because.push(format!(
                "rule 3: the catalogue of {url}, fetched {fetched}{}, offers it: {}",
                kept.unwrap_or_default(),
                peer.describe()
            ));
        } else if peer.offered(name).is_some() {
            because.push(format!(
                "rule 3: the catalogue of {url} offers it, but the call has been on that host, and does not go back"
            ));
        } else if checks.fetched.is_none() {
            silent += 1;
            let why =
                checks.failure.map_or_else(|| "it was not answered yet".to_owned(), |(_, reason)| reason);
            because.push(format!("rule 3: {url} has given no catalogue: {why}"));
        }
    }
    if asked == 0 {
        because.push("rule 3: no peer is asked for its catalogue".to_owned());
    } else if because.len() == silent {
        because
            .push(format!("rule 3: no catalogue of the {asked} peers that are asked for theirs offers it"));
    }
    because
}
