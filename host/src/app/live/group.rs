//! The peers behind one URL of the config: the one that it is, or those that were found.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::super::keys::Keys;
use super::compression;
use crate::base::Tasks;
use crate::config::{self, Config, Discover, PeerUrl, READY_PATH, REMOTE_PATH};
use crate::peers::{
    Allowed, Asking, Binding, Client, Discovered, Endpoint, Following, FollowingId, Known, Peer, Standing,
    Watch, discovery_of,
};
use crate::wire::{Compression, KeySet, Limits};

/// What peers are made of, and those that there were.
pub(super) struct Making<'a> {
    pub(super) config: &'a Config,
    pub(super) keys: &'a Keys,
    pub(super) client: &'a Client,
    pub(super) limits: Limits,
    /// Calls are made as before, so that peers can be taken over.
    pub(super) calls_alike: bool,
    /// The DNS servers and the allowed addresses are those of before.
    pub(super) finds_alike: bool,
}

/// The peers behind one URL.
pub(super) struct Group {
    discover: Discover,
    /// What was found last, if anything ever was.
    found: Option<BTreeSet<Endpoint>>,
    client: Client,
    peers: Vec<KnownPeer>,
    /// Looks for them, once that has begun.
    following: OnceLock<Arc<Following>>,
}

/// A peer, and what it was made of.
struct KnownPeer {
    peer: Arc<Peer>,
    watch: Arc<Watch>,
    key: Option<Arc<KeySet>>,
    compression: Compression,
}

/// The peers of a URL before.
struct Before<'a> {
    peers: &'a [KnownPeer],
    /// They are called in the same way, so that they can be taken over whole; else what is known of them is.
    call_alike: bool,
}

impl Making<'_> {
    /// The peers of a URL: taken over from `before` where they would be the same.
    pub(super) fn group(&self, peer: &config::Peer, before: Option<&Group>) -> Group {
        // Asking other servers, or allowing other addresses, loses nobody who was found and may still be called.
        let same_peers = before.filter(|before| before.discover == peer.discover);
        let found = same_peers.and_then(|before| before.found.as_ref()).map(|found| self.allowed_of(found));
        let same_ways = same_peers.filter(|_| self.finds_alike);
        // One for names that are found is made for that name.
        let same = same_peers.filter(|_| self.calls_alike);
        let client = same.map_or_else(|| self.client_of(peer), |before| before.client.clone());
        let group = Group {
            discover: peer.discover.clone(),
            found: found.filter(|found| !found.is_empty()),
            client,
            peers: Vec::new(),
            following: same_ways.map(|before| before.following.clone()).unwrap_or_default(),
        };
        let before =
            Before { peers: before.map_or(&[][..], |before| &before.peers), call_alike: same.is_some() };
        let peers = self.peers(peer, &group, &before);
        Group { peers, ..group }
    }

    /// Those that may be called.
    fn allowed_of(&self, found: &BTreeSet<Endpoint>) -> BTreeSet<Endpoint> {
        let allowed = &self.config.proxy.allowed_addresses;
        found.iter().filter(|endpoint| endpoint.is_allowed(allowed)).cloned().collect()
    }

    /// Found peers are reached at their addresses; who they are is still said by the name in the URL.
    fn client_of(&self, peer: &config::Peer) -> Client {
        match peer.discover {
            Discover::Dns | Discover::Srv if peer.url.is_https() => {
                let name = peer.url.host().split('.').skip_while(|label| label.starts_with('_'));
                let name = name.collect::<Vec<_>>().join(".");
                self.client.clone().named(name)
            }
            _ => self.client.clone(),
        }
    }

    /// The peers of what was found: one that refuses every call as long as nothing was.
    fn peers(&self, peer: &config::Peer, group: &Group, before: &Before<'_>) -> Vec<KnownPeer> {
        let itself = || BTreeSet::from([Endpoint::at(peer.url.clone())]);
        let endpoints = group.found.clone().unwrap_or_else(itself);
        let make = |endpoint: &Endpoint| {
            let known = before.peers.iter().find(|known| *known.peer.url() == endpoint.url);
            self.peer(peer, endpoint, group, (known, before.call_alike))
        };
        endpoints.iter().map(make).collect()
    }

    fn peer(
        &self,
        peer: &config::Peer,
        endpoint: &Endpoint,
        group: &Group,
        (before, call_alike): (Option<&KnownPeer>, bool),
    ) -> KnownPeer {
        let key = self.keys.of_peers.get(&peer.url).cloned();
        let compression = compression(self.config, endpoint.url.is_loopback());
        let standing = Standing {
            priority: peer.priority.saturating_add(endpoint.rank),
            weight: peer.weight.saturating_mul(endpoint.weight),
        };
        let binding = Binding {
            bind: peer.bind,
            require: self.config.proxy.require_receiver,
            host_id: peer.host_id.clone(),
        };
        let is_unfound = group.found.is_none() && group.discover != Discover::Static;
        let allowed = Allowed {
            calls: !is_unfound && peer.allows(REMOTE_PATH),
            // Without a key for calls, what it offers could not be had.
            functions: !is_unfound && key.is_some() && self.config.asks_for_catalogue(peer),
            ready: !is_unfound && peer.allows(READY_PATH),
        };
        let same = |known: &&KnownPeer| {
            let same_key = match (&known.key, &key) {
                (Some(known), Some(key)) => Arc::ptr_eq(known, key),
                (None, None) => true,
                _ => false,
            };
            let same_ways = known.compression == compression && known.peer.allowed() == allowed;
            let same_kind = known.peer.is_unfound() == is_unfound;
            let same_binding = *known.peer.binding() == binding;
            call_alike
                && same_kind
                && same_key
                && same_ways
                && same_binding
                && known.peer.standing() == standing
        };
        let made = match before.filter(same) {
            Some(known) => Arc::clone(&known.peer),
            None => {
                let known: Option<Arc<Known>> = before.map(|known| Arc::clone(known.peer.known()));
                let made = Peer::new(
                    (endpoint.url.clone(), (endpoint.url != peer.url).then(|| peer.url.clone())),
                    key.clone(),
                    group.client.clone(),
                    compression,
                    self.limits,
                    (standing, binding.clone()),
                    (allowed, known.unwrap_or_default()),
                );
                Arc::new(if is_unfound { made.unfound() } else { made })
            }
        };
        made.bulkhead().set(self.config.proxy.in_flight_max);
        let asking = Asking {
            interval: self.config.proxy.catalogue_interval,
            bytes_max: self.config.proxy.catalogue_bytes_max,
            key: self.config.catalogue_key().cloned(),
        };
        let watch = match before.map(|known| &known.watch).filter(|watch| watch.is_of(&made, &asking)) {
            Some(watch) => Arc::clone(watch),
            None => Arc::new(Watch::new(Arc::clone(&made), asking)),
        };
        KnownPeer { peer: made, watch, key, compression }
    }

    /// The same group with other peers.
    pub(super) fn with_found(&self, peer: &config::Peer, group: &Group, found: BTreeSet<Endpoint>) -> Group {
        let now = Group {
            discover: group.discover.clone(),
            found: Some(found),
            client: group.client.clone(),
            peers: Vec::new(),
            following: group.following.clone(),
        };
        let peers = self.peers(peer, &now, &Before { peers: &group.peers, call_alike: true });
        Group { peers, ..now }
    }
}

impl Group {
    /// Its peers.
    pub(super) fn peers(&self) -> impl Iterator<Item = Arc<Peer>> {
        self.peers.iter().map(|known| Arc::clone(&known.peer))
    }

    /// Whether it looks for peers in that way at present, and these are others than it has.
    pub(super) fn wants(&self, found: &BTreeSet<Endpoint>, by: FollowingId) -> bool {
        let is_current = self.following.get().is_some_and(|following| following.id() == by);
        is_current && self.found.as_ref() != Some(found)
    }

    /// Watches its peers and looks for others, as far as that has not begun yet.
    pub(super) fn watch(&self, url: &PeerUrl, config: &Config, to: &mpsc::Sender<Discovered>, tasks: &Tasks) {
        self.peers.iter().for_each(|known| known.watch.start(tasks));
        if let Some(discovery) = discovery_of(url, &self.discover, &config.proxy) {
            self.following.get_or_init(|| {
                let allowed = config.proxy.allowed_addresses.clone();
                Arc::new(Following::start(url.clone(), discovery, allowed, to.clone(), tasks))
            });
        }
    }
}
