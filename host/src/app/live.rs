//! What of a config can be replaced while the host runs: the policy of the door and the routes of the router.

use std::collections::HashMap;
use std::sync::Arc;

use super::AppError;
use super::keys::Keys;
use crate::base::Tasks;
use crate::config::{self, Config, PeerUrl, READY_PATH, Server};
use crate::http::{Admission, Limits, Policy, Sealing};
use crate::peers::{Allowed, Asking, Client, Known, Peer, Standing, Watch};
use crate::router::{RepeatBounds, Routes};
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
    peers: HashMap<PeerUrl, KnownPeer>,
    admission: Arc<Admission>,
}

/// A peer, and what it was made of.
struct KnownPeer {
    peer: Arc<Peer>,
    watch: Arc<Watch>,
    key: Option<Arc<crate::wire::KeySet>>,
    compression: Compression,
}

impl Live {
    /// Derives keys and makes peers; nothing is in force yet. `client_tasks` own the connections to peers.
    pub(super) async fn make(
        config: Config,
        before: Option<&Self>,
        client_tasks: &Tasks,
    ) -> Result<Self, AppError> {
        let keys = {
            let config = config.clone();
            let known = before.map_or_else(Arc::default, |before| Arc::clone(&before.keys));
            tokio::task::spawn_blocking(move || Keys::derive(&config, &known))
                .await
                .map_err(|_| AppError::Thread)??
        };
        let limits = answer_limits(&config);
        let connects_alike = |before: &&Self| {
            let (now, before) = (&config.proxy, &before.config.proxy);
            now.tls == before.tls && now.allowed_addresses == before.allowed_addresses
        };
        let known_of = |url: &PeerUrl| -> Option<Arc<Known>> {
            before.and_then(|before| before.peers.get(url)).map(|known| Arc::clone(known.peer.known()))
        };
        let asking = Asking {
            interval: config.proxy.catalogue_interval,
            bytes_max: config.proxy.catalogue_bytes_max,
            key: config.catalogue_key().cloned(),
        };
        let watch_of = |peer: &Arc<Peer>| {
            let watch = before.and_then(|before| before.peers.get(peer.url())).map(|known| &known.watch);
            match watch.filter(|watch| watch.is_of(peer, &asking)) {
                Some(watch) => Arc::clone(watch),
                None => Arc::new(Watch::new(Arc::clone(peer), asking.clone())),
            }
        };
        let before = before.filter(|before| answer_limits(&before.config) == limits);
        let known_client = before.filter(connects_alike);
        let client = known_client.map_or_else(
            || Client::new(&config.proxy, client_tasks, limits.plaintext_bytes_max),
            |before| before.client.clone(),
        );
        let peers = config.proxy.peers.iter().map(|peer| {
            let key = keys.of_peers.get(&peer.url).cloned();
            let compression = compression(&config, peer.url.is_loopback());
            let standing = Standing { priority: peer.priority, weight: peer.weight };
            let allowed = Allowed {
                // Without a key for calls, what it offers could not be had.
                functions: key.is_some() && config.asks_for_catalogue(peer),
                ready: peer.allows(READY_PATH),
            };
            let same = |known: &&KnownPeer| {
                let same_key = match (&known.key, &key) {
                    (Some(known), Some(key)) => Arc::ptr_eq(known, key),
                    (None, None) => true,
                    _ => false,
                };
                let same_ways = known.compression == compression && known.peer.allowed() == allowed;
                same_key && same_ways && known.peer.standing() == standing
            };
            let known = known_client.and_then(|before| before.peers.get(&peer.url)).filter(same);
            let made = match known {
                Some(known) => Arc::clone(&known.peer),
                None => Arc::new(Peer::new(
                    peer.url.clone(),
                    key.clone(),
                    client.clone(),
                    compression,
                    limits,
                    standing,
                    (allowed, known_of(&peer.url).unwrap_or_default()),
                )),
            };
            (peer.url.clone(), KnownPeer { watch: watch_of(&made), peer: made, key, compression })
        });
        let peers = peers.collect();
        let places = |config: &Config| (config.server.in_flight_max, config.server.queue_max);
        let admission = match before.filter(|before| places(&before.config) == places(&config)) {
            Some(before) => Arc::clone(&before.admission),
            None => Arc::new(Admission::new(config.server.in_flight_max, config.server.queue_max)),
        };
        Ok(Self { config, keys: Arc::new(keys), client, peers, admission })
    }

    /// Where calls go.
    pub(super) fn routes(&self) -> Routes {
        let peer = |url: &PeerUrl| self.peers.get(url).map(|known| Arc::clone(&known.peer));
        let of_urls = |urls: &Vec<PeerUrl>| urls.iter().filter_map(peer).collect();
        let functions = self.config.proxy.functions.iter();
        Routes {
            configured: functions.map(|(function, urls)| (function.clone(), of_urls(urls))).collect(),
            peers: self.config.proxy.peers.iter().filter_map(|known| peer(&known.url)).collect(),
            fallback: self.config.proxy.fallback,
        }
    }

    /// How much is kept of calls with idempotency keys.
    pub(super) fn repeats(&self) -> RepeatBounds {
        let server = &self.config.server;
        RepeatBounds { keep: server.idempotency_keep, bytes_max: server.idempotency_bytes_max }
    }

    /// Watches its peers, those that were not watched yet; the watch over a peer that is no longer there ended with the
    /// one before this.
    pub(super) fn watch_peers(&self, client_tasks: &Tasks) {
        self.peers.values().for_each(|known| known.watch.start(client_tasks));
    }

    /// Who may ask what.
    pub(super) fn policy(&self) -> Result<Policy, AppError> {
        Ok(Policy {
            rules: self.config.door_rules().clone(),
            callers: self.config.callers.clone(),
            sealing: Sealing {
                ring: KeyRing::new(self.keys.opening.clone())?,
                callers: self.keys.of_callers.clone(),
                closed: !self.config.answers_peers(),
                compression: compression(&self.config, false),
            },
            admission: Arc::clone(&self.admission),
            limits: Limits {
                body_bytes_max: self.config.server.body_bytes_max,
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
