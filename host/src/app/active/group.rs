//! The peers behind one URL of the config: the URL itself, or the peers that discovery found.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::super::keys::Keys;
use super::wire_options::compression;
use crate::api::{READY_PATH, REMOTE_PATH};
use crate::base::Tasks;
use crate::config::{self, Config, Discover};
use crate::peers::{
    Binding, CatalogueOptions, Client, Discovered, DiscoverySpec, DiscoveryTask, DiscoveryTaskId, Endpoint,
    Monitor, Peer, PeerSpec, Probes, Rank,
};
use crate::wire::Limits;

/// Makes peers from a config.
pub(super) struct PeerFactory<'a> {
    pub(super) config: &'a Config,
    pub(super) keys: &'a Keys,
    pub(super) client: &'a Client,
    pub(super) limits: Limits,
}

/// The peers behind one URL.
pub(super) struct Group {
    discovery: DiscoverySpec,
    /// The discovery task, once it has started; nothing for a URL that is the peer.
    task: OnceLock<Option<Arc<DiscoveryTask>>>,
    members: Members,
}

/// The peers of a group.
pub(super) enum Members {
    /// Discovery has found none yet. The specification has the URL of the config.
    Pending(Arc<PeerSpec>),
    /// Found endpoints, or the URL itself.
    Found(BTreeSet<Endpoint>, Vec<Arc<Monitor>>),
}

impl PeerFactory<'_> {
    /// Makes the group of a URL, and keeps what is unchanged in the group before.
    pub(super) fn group(&self, peer: &config::ConfiguredPeer, before: Option<&Group>) -> Group {
        let proxy = &self.config.proxy;
        let discovery = DiscoverySpec {
            url: peer.url.clone(),
            discover: peer.discover.clone(),
            dns_servers: proxy.dns_servers.clone(),
            allowed: proxy.allowed_addresses.clone(),
        };
        // New servers or allowed addresses remove no peer that was found and may still be called.
        let found = before.filter(|before| before.discovery.discover == discovery.discover);
        let endpoints = match discovery.discover {
            Discover::Static => Some(BTreeSet::from([Endpoint::at(peer.url.clone())])),
            _ => found.and_then(Group::endpoints).map(|found| self.allowed_of(found)),
        };
        let task = before.filter(|before| before.discovery == discovery);
        Group {
            task: task.map(|before| before.task.clone()).unwrap_or_default(),
            discovery,
            members: self.members(peer, endpoints.filter(|found| !found.is_empty()), before),
        }
    }

    /// Makes the same group with the peers that were found.
    pub(super) fn with_found(
        &self,
        peer: &config::ConfiguredPeer,
        group: &Group,
        found: BTreeSet<Endpoint>,
    ) -> Group {
        Group {
            discovery: group.discovery.clone(),
            task: group.task.clone(),
            members: self.members(peer, Some(found), Some(group)),
        }
    }

    /// Returns the endpoints that may be called.
    fn allowed_of(&self, found: &BTreeSet<Endpoint>) -> BTreeSet<Endpoint> {
        let allowed = &self.config.proxy.allowed_addresses;
        found.iter().filter(|endpoint| endpoint.is_allowed(allowed)).cloned().collect()
    }

    fn members(
        &self,
        peer: &config::ConfiguredPeer,
        endpoints: Option<BTreeSet<Endpoint>>,
        before: Option<&Group>,
    ) -> Members {
        let Some(endpoints) = endpoints else {
            let spec = self.spec(peer, &Endpoint::at(peer.url.clone()));
            return Members::Pending(Arc::new(PeerSpec { probes: Probes::default(), ..spec }));
        };
        let before = before.map_or(&[][..], Group::monitors);
        let monitor = |endpoint: &Endpoint| {
            let before = before.iter().find(|before| *before.peer().url() == endpoint.url);
            let peer = Peer::renew(self.spec(peer, endpoint), before.map(|before| before.peer()));
            peer.bulkhead().set(self.config.proxy.in_flight_max);
            Monitor::renew(peer, self.catalogue_options(), before)
        };
        let monitors = endpoints.iter().map(monitor).collect();
        Members::Found(endpoints, monitors)
    }

    fn spec(&self, peer: &config::ConfiguredPeer, endpoint: &Endpoint) -> PeerSpec {
        let key = self.keys.of_peers.get(&peer.url).cloned();
        PeerSpec {
            discovered_via: (endpoint.url != peer.url).then(|| peer.url.clone()),
            client: self.client_of(peer),
            compression: compression(self.config, endpoint.url.is_loopback()),
            limits: self.limits,
            binding: Binding {
                bind: peer.bind,
                require: self.config.proxy.require_receiver,
                host_id: peer.host_id.clone(),
            },
            rank: Rank {
                priority: peer.priority.saturating_add(endpoint.priority),
                weight: peer.weight.saturating_mul(endpoint.weight),
            },
            probes: Probes {
                hello: peer.allows(REMOTE_PATH),
                // Without a key for calls, a host could not use what the peer offers.
                catalogue: key.is_some() && self.config.asks_for_catalogue(peer),
                readiness: peer.allows(READY_PATH),
            },
            url: endpoint.url.clone(),
            key,
        }
    }

    /// Discovered peers are reached at their addresses; their certificates still have the name in the URL.
    fn client_of(&self, peer: &config::ConfiguredPeer) -> Client {
        match peer.discover {
            Discover::Dns | Discover::Srv if peer.url.is_https() => {
                let name = peer.url.host().split('.').skip_while(|label| label.starts_with('_'));
                self.client.clone().named(name.collect::<Vec<_>>().join("."))
            }
            _ => self.client.clone(),
        }
    }

    fn catalogue_options(&self) -> CatalogueOptions {
        CatalogueOptions {
            interval: self.config.proxy.catalogue_interval,
            bytes_max: self.config.proxy.catalogue_bytes_max,
            key: self.config.catalogue_key().cloned(),
        }
    }
}

impl Group {
    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    fn monitors(&self) -> &[Arc<Monitor>] {
        match &self.members {
            Members::Pending(_) => &[],
            Members::Found(_, monitors) => monitors,
        }
    }

    fn endpoints(&self) -> Option<&BTreeSet<Endpoint>> {
        match &self.members {
            Members::Pending(_) => None,
            Members::Found(endpoints, _) => Some(endpoints),
        }
    }

    /// Returns true if the current task found these endpoints, and they differ from the group's.
    pub(super) fn wants(&self, found: &BTreeSet<Endpoint>, by: DiscoveryTaskId) -> bool {
        let is_current = self.task.get().and_then(Option::as_ref).is_some_and(|task| task.id() == by);
        is_current && self.endpoints() != Some(found)
    }

    /// Starts the monitors and discovery, if they have not started yet.
    pub(super) fn start(&self, discovered: &mpsc::Sender<Discovered>, tasks: &Tasks) {
        self.monitors().iter().for_each(|monitor| monitor.start(tasks));
        self.task
            .get_or_init(|| DiscoveryTask::start(&self.discovery, discovered.clone(), tasks).map(Arc::new));
    }
}
