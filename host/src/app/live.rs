//! What of a config can be replaced while the host runs: the policy of the door and the routes of the router.

mod group;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use group::{Group, Members, PeerFactory};

use super::AppError;
use super::keys::Keys;
use crate::base::{Identity, Tasks};
use crate::config::{self, Config, Discover, PeerUrl, Server};
use crate::http::{Admission, Limits, Policy, Sealing};
use crate::peers::{Client, Discovered};
use crate::router::{PeerSet, RepeatBounds, Routes};
use crate::wire::{Compression, KeyRing, Limits as WireLimits};

/// Smallest plaintext in bytes that is worth compressing.
const COMPRESS_BYTES_MIN: usize = 1024;
/// What an envelope may have around arguments or a result of the largest body.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// A config and what was made of it. What is the same in the next one is taken over: connections to peers,
/// what is known of them, places of calls.
pub(super) struct Live {
    pub(super) config: Config,
    keys: Arc<Keys>,
    client: Client,
    groups: HashMap<PeerUrl, Group>,
    discovered: mpsc::Sender<Discovered>,
    admission: Arc<Admission>,
    identity: Arc<Identity>,
}

/// What goes on from one config to the next, whatever is in them.
pub(super) struct Lasting {
    keys: Arc<Keys>,
    admission: Arc<Admission>,
    identity: Arc<Identity>,
}

impl Lasting {
    /// What the first config of a process begins with.
    pub(super) fn first(config: &Config, identity: Identity) -> Self {
        Self {
            identity: Arc::new(identity),
            keys: Arc::default(),
            admission: Arc::new(Admission::new(config.server.in_flight_max, config.server.queue_max)),
        }
    }
}

impl Live {
    /// Derives keys and makes peers, all of them new; nothing is in force yet. `client_tasks` own the connections to
    /// peers, `discovered` gets what is found.
    pub(super) async fn make(
        config: Config,
        lasting: Lasting,
        client_tasks: &Tasks,
        discovered: mpsc::Sender<Discovered>,
    ) -> Result<Self, AppError> {
        let Lasting { keys: known, admission, identity } = lasting;
        let keys = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || Keys::derive(&config, &known))
                .await
                .map_err(|_| AppError::Thread)??
        };
        let bytes_max = answer_limits(&config).plaintext_bytes_max;
        let client = Client::new(&config.proxy, client_tasks, Arc::clone(&identity), bytes_max);
        let groups = HashMap::new();
        let mut made = Self { config, keys: Arc::new(keys), client, groups, discovered, admission, identity };
        made.groups = made.grouped(None);
        Ok(made)
    }

    /// What the next one begins with.
    pub(super) fn lasting(&self) -> Lasting {
        Lasting {
            keys: Arc::clone(&self.keys),
            admission: Arc::clone(&self.admission),
            identity: Arc::clone(&self.identity),
        }
    }

    /// This process, as peers know it.
    pub(super) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }

    /// Takes over what is the same in the one that was in force until this moment, with all that was found by now.
    pub(super) fn take_over(&mut self, before: &Self) {
        self.groups = self.grouped(Some(before));
    }

    fn grouped(&self, before: Option<&Self>) -> HashMap<PeerUrl, Group> {
        let factory = self.factory();
        let group = |peer: &config::Peer| {
            let before = before.and_then(|before| before.groups.get(&peer.url));
            (peer.url.clone(), factory.group(peer, before))
        };
        self.config.proxy.peers.iter().map(group).collect()
    }

    fn factory(&self) -> PeerFactory<'_> {
        PeerFactory {
            config: &self.config,
            keys: &self.keys,
            client: &self.client,
            limits: answer_limits(&self.config),
        }
    }

    /// Who is told what is found.
    pub(super) fn discovered(&self) -> mpsc::Sender<Discovered> {
        self.discovered.clone()
    }

    /// How many URLs stand for peers that are to be found.
    pub(super) fn to_be_found(&self) -> usize {
        self.config.proxy.peers.iter().filter(|peer| peer.discover != Discover::Static).count()
    }

    /// Puts in what was found behind a URL, unless that was asked for by a config that is gone; answers whether anything
    /// is different now.
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

    /// Where calls go.
    pub(super) fn routes(&self) -> Routes {
        let proxy = &self.config.proxy;
        let functions = proxy.functions.iter();
        let mut all = self.peers_behind(proxy.peers.iter().map(|peer| &peer.url));
        // A peer behind two URLs is one peer to those who look at all of them.
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

    /// Begins to monitor its peers and to discover others, as far as that has not begun yet. Monitors of peers that are no
    /// longer there ended with the config before.
    pub(super) fn watch_peers(&self, client_tasks: &Tasks) {
        self.groups.values().for_each(|group| group.start(&self.discovered, client_tasks));
    }

    /// Lets as many calls in as its config says.
    pub(super) fn limit_admission(&self) {
        self.admission.set(self.config.server.in_flight_max, self.config.server.queue_max);
    }

    /// How much is kept of calls with idempotency keys.
    pub(super) fn repeats(&self) -> RepeatBounds {
        let server = &self.config.server;
        RepeatBounds { keep: server.idempotency_keep, bytes_max: server.idempotency_bytes_max }
    }

    /// Who may ask what.
    pub(super) fn policy(&self) -> Result<Policy, AppError> {
        Ok(Policy {
            access: self.config.access(),
            sealing: Sealing {
                ring: KeyRing::new(self.keys.opening.clone())?,
                callers: self.keys.of_callers.clone(),
                require_receiver: self.config.proxy.require_receiver,
                compression: compression(&self.config, false),
            },
            admission: Arc::clone(&self.admission),
            limits: Limits {
                body_bytes_max: self.config.server.body_bytes_max,
                answer_bytes_max: self.config.server.answer_bytes_max,
                body_timeout: self.config.server.body_timeout,
                call_timeout: self.config.server.call_timeout,
                wire: request_limits(&self.config),
            },
        })
    }
}

fn compression(config: &Config, is_loopback: bool) -> Compression {
    match config.proxy.compression {
        config::Compression::Auto if !is_loopback => Compression::Auto { bytes_min: COMPRESS_BYTES_MIN },
        config::Compression::Auto | config::Compression::Never => Compression::Never,
    }
}

/// What is taken from those who call.
fn request_limits(config: &Config) -> WireLimits {
    let Server { body_bytes_max, expansion_max, nesting_max, .. } = config.server;
    WireLimits { plaintext_bytes_max: body_bytes_max + ENVELOPE_BYTES_MAX, expansion_max, nesting_max }
}

/// What is taken from peers that were called.
fn answer_limits(config: &Config) -> WireLimits {
    let plaintext_bytes_max = config.proxy.answer_bytes_max + ENVELOPE_BYTES_MAX;
    WireLimits { plaintext_bytes_max, ..request_limits(config) }
}
