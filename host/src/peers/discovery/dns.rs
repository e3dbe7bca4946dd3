//! Peers in the DNS: the addresses of a name (Kubernetes headless services), or the targets of a service (Consul).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

use super::{Discovery, ENDPOINTS_MAX, Endpoint, Finding, Found, Lost};
use crate::config::PeerUrl;

/// How long one server may take to answer, and how often it is asked.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const QUERIES: usize = 2;
/// Shortest and longest time after which a name is looked up again, whatever the records say.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// Every address of a name is a peer.
pub(super) struct AddressDiscovery {
    url: PeerUrl,
    lookups: Lookups,
}

impl AddressDiscovery {
    pub(super) fn new(url: PeerUrl, servers: &[SocketAddr]) -> Self {
        Self { url, lookups: Lookups::new(servers) }
    }
}

impl Discovery for AddressDiscovery {
    fn find(&mut self) -> Finding<'_> {
        Box::pin(async move {
            let (addresses, again) = self.lookups.addresses(self.url.host()).await?;
            let endpoints = addresses.into_iter().map(|address| self.url.at(address, self.url.port()));
            Ok(Found { endpoints: endpoints.map(Endpoint::at).collect(), again })
        })
    }
}

/// Every target of a service is a peer.
pub(super) struct ServiceDiscovery {
    url: PeerUrl,
    lookups: Lookups,
}

impl ServiceDiscovery {
    pub(super) fn new(url: PeerUrl, servers: &[SocketAddr]) -> Self {
        Self { url, lookups: Lookups::new(servers) }
    }
}

impl Discovery for ServiceDiscovery {
    fn find(&mut self) -> Finding<'_> {
        Box::pin(async move {
            let resolver = self.lookups.resolver()?;
            let found = resolver.srv_lookup(self.url.host()).await.map_err(|error| error.to_string())?;
            let mut again = until(found.valid_until());
            let targets: Vec<_> = found
                .answers()
                .iter()
                .filter_map(
                    |record| if let RData::SRV(srv) = &record.data { Some(srv.clone()) } else { None },
                )
                .take(ENDPOINTS_MAX)
                .collect();
            let priorities: BTreeSet<u16> = targets.iter().map(|srv| srv.priority).collect();
            let (mut endpoints, mut lost) = (BTreeSet::new(), None);
            for srv in targets {
                let rank =
                    priorities.iter().position(|priority| *priority == srv.priority).unwrap_or_default();
                let rank = u8::try_from(rank).unwrap_or(u8::MAX);
                // The server says them along with the targets, if it knows them.
                let told = found.additionals().iter().filter(|record| record.name == srv.target);
                let told: Vec<IpAddr> = told.filter_map(|record| record.data.ip_addr()).collect();
                let addresses = match told.is_empty() {
                    false => told,
                    true => match self.lookups.addresses(&srv.target.to_utf8()).await {
                        Ok((addresses, valid)) => {
                            again = again.min(valid);
                            addresses
                        }
                        Err(reason) => {
                            lost = Some(reason);
                            continue;
                        }
                    },
                };
                let weight = srv.weight.max(1);
                let endpoint = |address| Endpoint { url: self.url.at(address, srv.port), rank, weight };
                endpoints.extend(addresses.into_iter().map(endpoint));
            }
            match lost {
                Some(reason) if endpoints.is_empty() => Err(reason),
                _ => Ok(Found { endpoints, again }),
            }
        })
    }
}

/// The resolver, made when it is first needed: it needs a runtime, and the system's config may not be there yet.
struct Lookups {
    servers: Vec<SocketAddr>,
    resolver: Option<TokioResolver>,
}

impl Lookups {
    fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec(), resolver: None }
    }

    fn resolver(&mut self) -> Result<TokioResolver, Lost> {
        if let Some(resolver) = &self.resolver {
            return Ok(resolver.clone());
        }
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| format!("the system's DNS config: {error}"))?
        } else {
            let servers = self.servers.iter().copied().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        (options.timeout, options.attempts) = (QUERY_TIMEOUT, QUERIES);
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // It is asked again only when the records say so.
        options.cache_size = 0;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        // The system's own may change.
        if !self.servers.is_empty() {
            self.resolver = Some(resolver.clone());
        }
        Ok(resolver)
    }

    /// All addresses of a name, and for how long they are good.
    async fn addresses(&mut self, name: &str) -> Result<(Vec<IpAddr>, Duration), Lost> {
        let found = self.resolver()?.lookup_ip(name).await.map_err(|error| error.to_string())?;
        let addresses = found.iter().take(ENDPOINTS_MAX).collect();
        Ok((addresses, until(found.valid_until())))
    }
}

/// A server at any port.
fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.iter_mut().for_each(|connection| connection.port = server.port());
    NameServerConfig::new(server.ip(), true, connections)
}

/// For how long what was found is good.
fn until(valid: Instant) -> Duration {
    valid.saturating_duration_since(Instant::now()).clamp(AGAIN_MIN, AGAIN_MAX)
}
