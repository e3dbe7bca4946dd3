//! Discovery by DNS: the addresses of a name (Kubernetes headless services), or the targets of a service (Consul).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use tokio::time::timeout_at;

use super::search::{Discovery, DiscoveryError, ENDPOINTS_MAX, Endpoint, Endpoints, FindFuture};
use crate::config::PeerUrl;

/// The longest time that one server may take to answer, and the number of attempts.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const QUERIES: usize = 2;
/// The longest time that the addresses of one target, and all of a search, may take: less than [`super::FIND_TIMEOUT`],
/// after which everything would be lost.
const TARGET_TIMEOUT: Duration = Duration::from_secs(3);
const ALL_TIMEOUT: Duration = Duration::from_secs(8);
/// The number of targets that are looked up at once.
const TARGETS_AT_ONCE: usize = 64;
/// The shortest and the longest time until a name is looked up again, regardless of its records.
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
    fn find(&mut self) -> FindFuture<'_> {
        Box::pin(async move {
            let name = self.url.host();
            let answers = ask(&self.lookups.resolver()?, name, Instant::now() + ALL_TIMEOUT).await;
            let Addresses { addresses, again, error } = self.lookups.note(name, answers)?;
            let endpoints = addresses.into_iter().map(|address| self.url.at(address, self.url.port()));
            Ok(Endpoints { endpoints: endpoints.map(Endpoint::at).collect(), again, error })
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
    fn find(&mut self) -> FindFuture<'_> {
        Box::pin(async move {
            let in_time = Instant::now() + ALL_TIMEOUT;
            let resolver = self.lookups.resolver()?;
            let found = resolver.srv_lookup(self.url.host()).await.map_err(|error| error.to_string())?;
            let valid = until(found.valid_until());
            let targets = found.answers().iter().filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(srv.clone()),
                _ => None,
            });
            let targets: Vec<SRV> = targets.take(ENDPOINTS_MAX).collect();
            let told = targets.iter().map(|srv| {
                // The server may send them along with the targets.
                let records = found.additionals().iter().filter(|record| record.name == srv.target);
                let addresses: Vec<IpAddr> = records.filter_map(|record| record.data.ip_addr()).collect();
                let told = (!addresses.is_empty()).then(|| told_along(addresses, valid));
                (srv.target.to_utf8(), told)
            });
            let answers = ask_for_others(&resolver, told.collect(), in_time).await;
            self.note(&targets, answers, valid)
        })
    }
}

impl ServiceDiscovery {
    /// Returns the peers of all targets. A target whose lookup failed keeps its addresses.
    fn note(
        &mut self,
        targets: &[SRV],
        answers: BTreeMap<String, Answers>,
        mut again: Duration,
    ) -> Result<Endpoints, DiscoveryError> {
        self.lookups.known.retain(|name, _| answers.contains_key(name));
        let mut error = None;
        for (name, answers) in answers {
            let reason = match self.lookups.note(&name, answers) {
                Ok(known) => {
                    again = again.min(known.again);
                    known.error
                }
                Err(reason) => Some(reason),
            };
            if reason.is_some() {
                (again, error) = (AGAIN_MIN, error.or(reason));
            }
        }
        let priorities: BTreeSet<u16> = targets.iter().map(|srv| srv.priority).collect();
        let mut endpoints = BTreeSet::new();
        for srv in targets {
            let priority = priorities.iter().position(|known| *known == srv.priority).unwrap_or_default();
            let priority = u8::try_from(priority).unwrap_or(u8::MAX);
            let weight = srv.weight.max(1);
            let endpoint = |address| Endpoint { url: self.url.at(address, srv.port), priority, weight };
            endpoints.extend(self.lookups.last(&srv.target.to_utf8()).into_iter().map(endpoint));
        }
        match error {
            Some(reason) if endpoints.is_empty() => Err(reason),
            error => Ok(Endpoints { endpoints, again, error }),
        }
    }
}

/// The addresses of a name and their validity: IPv4, then IPv6.
type Answers = [Result<(Vec<IpAddr>, Duration), DiscoveryError>; 2];

/// The addresses of a name.
struct Addresses {
    addresses: Vec<IpAddr>,
    again: Duration,
    /// The reason why one family is as it was before.
    error: Option<DiscoveryError>,
}

/// Looks up both families of a name until `in_time` at the latest.
async fn ask(resolver: &TokioResolver, name: &str, in_time: Instant) -> Answers {
    let (v4, v6) = tokio::join!(
        timeout_at(in_time.into(), resolver.ipv4_lookup(name)),
        timeout_at(in_time.into(), resolver.ipv6_lookup(name))
    );
    [v4, v6].map(|found| match found {
        Ok(Ok(found)) => {
            let addresses = found.answers().iter().filter_map(|record| record.data.ip_addr());
            Ok((addresses.take(ENDPOINTS_MAX).collect(), until(found.valid_until())))
        }
        Ok(Err(error)) if error.is_no_records_found() => Ok((Vec::new(), AGAIN_MAX)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    })
}

/// Looks up the names whose addresses were not sent along: several at once, each with a limit of its own, so that a
/// server that does not answer takes no time from the others.
async fn ask_for_others(
    resolver: &TokioResolver,
    names: BTreeMap<String, Option<Answers>>,
    in_time: Instant,
) -> BTreeMap<String, Answers> {
    let answers = names.into_iter().map(|(name, told)| async move {
        let answers = match told {
            Some(answers) => answers,
            None => ask(resolver, &name, in_time.min(Instant::now() + TARGET_TIMEOUT)).await,
        };
        (name, answers)
    });
    stream::iter(answers).buffer_unordered(TARGETS_AT_ONCE).collect().await
}

/// Returns addresses that came with another answer.
fn told_along(addresses: Vec<IpAddr>, valid: Duration) -> Answers {
    let (v4, v6) = addresses.into_iter().take(ENDPOINTS_MAX).partition(IpAddr::is_ipv4);
    [Ok((v4, valid)), Ok((v6, valid))]
}

/// The resolver. It is made at the first use: it needs a runtime, and the system's config may not exist before.
struct Lookups {
    servers: Vec<SocketAddr>,
    resolver: Option<TokioResolver>,
    /// The last addresses of each name: IPv4, then IPv6.
    known: HashMap<String, [Vec<IpAddr>; 2]>,
}

impl Lookups {
    fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec(), resolver: None, known: HashMap::new() }
    }

    fn resolver(&mut self) -> Result<TokioResolver, DiscoveryError> {
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
        // The records decide when a name is looked up again.
        options.cache_size = 0;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        // The system's config may change.
        if !self.servers.is_empty() {
            self.resolver = Some(resolver.clone());
        }
        Ok(resolver)
    }

    /// Returns the last addresses of a name.
    fn last(&self, name: &str) -> Vec<IpAddr> {
        self.known.get(name).into_iter().flatten().flatten().copied().collect()
    }

    /// Records the answers for a name. If the lookup of one family fails, its addresses stay.
    fn note(&mut self, name: &str, answers: Answers) -> Result<Addresses, DiscoveryError> {
        let (mut error, mut answered, mut again) = (None, false, AGAIN_MAX);
        let known = self.known.entry(name.to_owned()).or_default();
        for (family, answer) in known.iter_mut().zip(answers) {
            match answer {
                Ok((addresses, valid)) => {
                    (answered, again) = (true, again.min(valid));
                    *family = addresses;
                }
                Err(reason) => error = Some(format!("`{name}`: {reason}")),
            }
        }
        let addresses: Vec<IpAddr> = known.iter().flatten().copied().collect();
        match error {
            Some(reason) if addresses.is_empty() || !answered => Err(reason),
            Some(_) => Ok(Addresses { addresses, again: AGAIN_MIN, error }),
            None if addresses.is_empty() => Err(format!("`{name}` has no addresses")),
            None => Ok(Addresses { addresses, again, error }),
        }
    }
}

/// Returns a server at any port.
fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.iter_mut().for_each(|connection| connection.port = server.port());
    NameServerConfig::new(server.ip(), true, connections)
}

/// Returns the time until what was found expires, within the bounds.
fn until(valid: Instant) -> Duration {
    valid.saturating_duration_since(Instant::now()).clamp(AGAIN_MIN, AGAIN_MAX)
}
