//! A config in force, and everything that a reload can replace with it: the policy of the public listener and the
//! routes.

mod group;
mod wire_options;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use group::{Group, Members, PeerFactory};
use wire_options::{answer_limits, compression, request_limits};

use super::AppError;
use super::keys::Keys;
use crate::base::{Identity, Limiter, Tasks};
use crate::config::{self, Config, PeerUrl};
use crate::http::{Policy, Sealing};
use crate::peers::{Client, Discovered};
use crate::router::{OutcomeBounds, PeerSet, Routes};
use crate::wire::KeyRing;

/// A config and what is made from it. The next config keeps what stays the same: connections to peers, what is known of
/// them, permits of calls.
pub(super) struct ActiveConfig {
    pub(super) config: Config,
    pub(super) carryover: Carryover,
    keys: Arc<Keys>,
    client: Client,
    groups: HashMap<PeerUrl, Group>,
}

/// Everything that goes on from one config to the next.
#[derive(Clone)]
pub(super) struct Carryover {
    /// This process, as peers know it.
    pub(super) identity: Arc<Identity>,
    /// The limit of calls from outside, which `parts.rs` sets.
    pub(super) admission: Arc<Limiter>,
    /// Own the connections to peers.
    pub(super) client_tasks: Tasks,
    /// Receives the results of discovery.
    pub(super) discovered: mpsc::Sender<Discovered>,
}

impl ActiveConfig {
    /// Derives the keys, but for those in `known`. Nothing is in force yet, and there are no peers
    /// ([`ActiveConfig::take_over`]).
    pub(super) async fn prepare(
        config: Config,
        known: Arc<Keys>,
        carryover: Carryover,
    ) -> Result<Self, AppError> {
        let keys = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || Keys::derive(&config, &known))
                .await
                .map_err(|_| AppError::Thread)??
        };
        let bytes_max = answer_limits(&config).plaintext_bytes_max;
        let identity = Arc::clone(&carryover.identity);
        let client = Client::new(&config.proxy, &carryover.client_tasks, identity, bytes_max);
        Ok(Self { config, carryover, keys: Arc::new(keys), client, groups: HashMap::new() })
    }

    /// The derived keys.
    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys)
    }

    /// Makes the peers, and keeps the unchanged peers of the config before.
    pub(super) fn take_over(&mut self, before: Option<&Self>) {
        let factory = self.factory();
        let group = |peer: &config::ConfiguredPeer| {
            let before = before.and_then(|before| before.groups.get(&peer.url));
            (peer.url.clone(), factory.group(peer, before))
        };
        let groups = self.config.proxy.peers.iter().map(group).collect();
        self.groups = groups;
    }

    fn factory(&self) -> PeerFactory<'_> {
        PeerFactory {
            config: &self.config,
            keys: &self.keys,
            client: &self.client,
            limits: answer_limits(&self.config),
        }
    }

    /// Takes the peers that were found behind a URL, unless the task of an earlier config found them. Returns true if
    /// that changes anything.
    pub(super) fn take(&mut self, discovered: Discovered) -> bool {
        let Discovered { url, by, outcome: Ok(found) } = discovered else { return false };
        let peer = self.config.proxy.peer(&url);
        let Some((peer, group)) = peer.zip(self.groups.get(&url).filter(|group| group.wants(&found, by)))
        else {
            return false;
        };
        let urls = found.iter().map(|endpoint| endpoint.url.to_string()).collect::<Vec<_>>().join(", ");
        tracing::info!(%url, peers = urls, "the peers of this URL were found");
        let group = self.factory().with_found(peer, group, found);
        self.groups.insert(url, group);
        true
    }

    /// Returns the routes of calls.
    pub(super) fn routes(&self) -> Routes {
        let proxy = &self.config.proxy;
        let functions = proxy.functions.iter();
        let mut all = self.peers_behind(proxy.peers.iter().map(|peer| &peer.url));
        // A peer behind two URLs counts once among all peers.
        let mut seen = HashSet::new();
        all.peers.retain(|peer| seen.insert(peer.url().clone()));
        Routes {
            configured: functions
                .map(|(function, urls)| (function.clone(), self.peers_behind(urls)))
                .collect(),
            all,
            fallback: proxy.fallback,
            wait: proxy.wait,
        }
    }

    fn peers_behind<'a>(&self, urls: impl IntoIterator<Item = &'a PeerUrl>) -> PeerSet {
        let mut set = PeerSet::default();
        for group in urls.into_iter().filter_map(|url| self.groups.get(url)) {
            match group.members() {
                Members::Pending(spec) => set.pending.push(Arc::clone(spec)),
                Members::Found(_, monitors) => {
                    set.peers.extend(monitors.iter().map(|monitor| Arc::clone(monitor.peer())));
                }
            }
        }
        set
    }

    /// Starts the monitors of its peers and discovery, if they have not started yet. Monitors of removed peers ended
    /// with the config before.
    pub(super) fn start_peers(&self) {
        let Carryover { discovered, client_tasks, .. } = &self.carryover;
        self.groups.values().for_each(|group| group.start(discovered, client_tasks));
    }

    /// Returns the bounds on kept outcomes of calls with idempotency keys.
    pub(super) fn repeats(&self) -> OutcomeBounds {
        let server = &self.config.server;
        OutcomeBounds { keep: server.idempotency_keep, bytes_max: server.idempotency_bytes_max }
    }

    /// Returns the policy of the public listener.
    pub(super) fn policy(&self) -> Result<Policy, AppError> {
        Ok(Policy {
            access: self.config.access(),
            sealing: Sealing {
                ring: KeyRing::new(self.keys.opening.clone())?,
                callers: self.keys.of_callers.clone(),
                require_receiver: self.config.proxy.require_receiver,
                compression: compression(&self.config, false),
            },
            admission: Arc::clone(&self.carryover.admission),
            server: self.config.server.clone(),
            frames: request_limits(&self.config),
        })
    }
}
