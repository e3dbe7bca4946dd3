//! Peers in the DNS: the addresses of a name (Kubernetes headless services), or the targets of a service (Consul).

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
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
            let (mut endpoints, mut lost, mut names) = (BTreeSet::new(), None, BTreeSet::new());
            for srv in targets {
                let rank =
                    priorities.iter().position(|priority| *priority == srv.priority).unwrap_or_default();
                let rank = u8::try_from(rank).unwrap_or(u8::MAX);
                // The server says them along with the targets, if it knows them.
                let told = found.additionals().iter().filter(|record| record.name == srv.target);
                let told: Vec<IpAddr> = told.filter_map(|record| record.data.ip_addr()).collect();
                let addresses = match told.is_empty() {
                    false => told,
                    true => {
                        let name = srv.target.to_utf8();
                        let looked_up = self.lookups.addresses(&name).await;
                        names.insert(name.clone());
                        match looked_up {
                            Ok((addresses, valid)) => {
                                again = again.min(valid);
                                addresses
                            }
                            Err(reason) => {
                                (again, lost) = (AGAIN_MIN, Some(reason));
                                self.lookups.last(&name)
                            }
                        }
                    }
                };
                let weight = srv.weight.max(1);
                let endpoint = |address| Endpoint { url: self.url.at(address, srv.port), rank, weight };
                endpoints.extend(addresses.into_iter().map(endpoint));
            }
            self.lookups.known.retain(|name, _| names.contains(name));
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
    /// What was found last, by name: IPv4, then IPv6.
    known: HashMap<String, [Vec<IpAddr>; 2]>,
}

impl Lookups {
    fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec(), resolver: None, known: HashMap::new() }
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
        // It is asked again only when the records say so.
        options.cache_size = 0;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        // The system's own may change.
        if !self.servers.is_empty() {
            self.resolver = Some(resolver.clone());
        }
        Ok(resolver)
    }

    /// The addresses that a name had last.
    fn last(&self, name: &str) -> Vec<IpAddr> {
        self.known.get(name).into_iter().flatten().flatten().copied().collect()
    }

    /// All addresses of a name, and for how long they are good. Where only one family cannot be looked up, those that
    /// are known of it stay.
    async fn addresses(&mut self, name: &str) -> Result<(Vec<IpAddr>, Duration), Lost> {
        let resolver = self.resolver()?;
        let (v4, v6) = tokio::join!(resolver.ipv4_lookup(name), resolver.ipv6_lookup(name));
        let (mut lost, mut answered, mut again) = (None, false, AGAIN_MAX);
        let known = self.known.entry(name.to_owned()).or_default();
        for (family, found) in known.iter_mut().zip([v4, v6]) {
            match found {
                Ok(found) => {
                    (answered, again) = (true, again.min(until(found.valid_until())));
                    let addresses = found.answers().iter().filter_map(|record| record.data.ip_addr());
                    *family = addresses.take(ENDPOINTS_MAX).collect();
                }
                Err(error) if error.is_no_records_found() => {
                    answered = true;
                    family.clear();
                }
                Err(error) => lost = Some(error.to_string()),
            }
        }
        let addresses: Vec<IpAddr> = known.iter().flatten().copied().collect();
        match lost {
            Some(reason) if addresses.is_empty() || !answered => Err(reason),
            Some(_) => Ok((addresses, AGAIN_MIN)),
            None if addresses.is_empty() => Err(format!("`{name}` has no addresses")),
            None => Ok((addresses, again)),
        }
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
