//! Discovery: finds the peers behind one URL, again and again. Found peers stay until others are found: a failing
//! discovery never removes a peer.

mod dns;
mod file;
mod search;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::base::{Tasks, jittered};
use crate::config::{AllowedAddresses, Discover, PeerUrl};

pub use search::{Discovery, DiscoveryError, Endpoint, Endpoints, FindFuture};

use dns::{AddressDiscovery, ServiceDiscovery};
use file::FileDiscovery;
use search::ENDPOINTS_MAX;

/// The longest time that one search may take.
const FIND_TIMEOUT: Duration = Duration::from_secs(10);
/// The first and the longest pause after a failed search.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// A message of a discovery task.
#[derive(Debug)]
pub struct Discovered {
    /// The URL of the config.
    pub url: PeerUrl,
    /// The task.
    pub by: DiscoveryTaskId,
    /// All peers that were found, or the reason why there are none.
    pub outcome: Result<BTreeSet<Endpoint>, DiscoveryError>,
}

/// The way to find the peers behind one URL. A reload keeps a task whose specification stays equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoverySpec {
    /// The URL of the config.
    pub url: PeerUrl,
    /// The kind of discovery.
    pub discover: Discover,
    /// The DNS servers to ask; empty for the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// The link-local and metadata addresses that are accepted.
    pub allowed: AllowedAddresses,
}

impl DiscoverySpec {
    /// Returns the discovery; nothing if the URL is the peer.
    fn discovery(&self) -> Option<Box<dyn Discovery>> {
        let (url, servers) = (self.url.clone(), &self.dns_servers);
        match &self.discover {
            Discover::Static => None,
            Discover::Dns => Some(Box::new(AddressDiscovery::new(url, servers))),
            Discover::Srv => Some(Box::new(ServiceDiscovery::new(url, servers))),
            Discover::File(path) => Some(Box::new(FileDiscovery::new(url, path.clone()))),
        }
    }
}

/// The identity of a [`DiscoveryTask`] in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoveryTaskId(u64);

/// Searches for the peers behind one URL until it is dropped or the host stops.
#[derive(Debug)]
pub struct DiscoveryTask {
    id: DiscoveryTaskId,
    ended: CancellationToken,
}

impl DiscoveryTask {
    /// Begins as a task of `tasks`, which sends to `to` what is new; nothing if the URL is the peer.
    pub fn start(spec: &DiscoverySpec, to: mpsc::Sender<Discovered>, tasks: &Tasks) -> Option<Self> {
        spec.discovery().map(|discovery| Self::run(spec, discovery, to, tasks))
    }

    fn run(
        spec: &DiscoverySpec,
        discovery: Box<dyn Discovery>,
        to: mpsc::Sender<Discovered>,
        tasks: &Tasks,
    ) -> Self {
        let (url, allowed) = (spec.url.clone(), spec.allowed.clone());
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let id = DiscoveryTaskId(STARTED.fetch_add(1, Ordering::Relaxed));
        let ended = CancellationToken::new();
        let (token, stopping) = (ended.clone(), tasks.token().clone());
        tasks.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = stopping.cancelled() => {}
                () = follow((url, id), discovery, allowed, to) => {}
            }
        });
        Self { id, ended }
    }

    /// Its identity.
    pub fn id(&self) -> DiscoveryTaskId {
        self.id
    }
}

impl Drop for DiscoveryTask {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// The part of the peers that a search can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reachability {
    Whole,
    Part,
    None,
}

impl Reachability {
    /// Logs a change, once.
    fn change(&mut self, url: &PeerUrl, now: Self, reason: Option<DiscoveryError>) {
        let reason = reason.unwrap_or_default();
        match (std::mem::replace(self, now), now) {
            (before, now) if before == now => {}
            (_, Self::Whole) => tracing::info!(%url, "the peers of this URL are found again"),
            (_, Self::Part) => {
                tracing::warn!(%url, "some peers of this URL cannot be found, and known peers stay: {reason}");
            }
            (_, Self::None) => {
                tracing::warn!(%url, "the peers of this URL cannot be found, and known peers stay: {reason}");
            }
        }
    }
}

/// Ends when the receiver is gone.
async fn follow(
    (url, by): (PeerUrl, DiscoveryTaskId),
    mut discovery: Box<dyn Discovery>,
    allowed: AllowedAddresses,
    to: mpsc::Sender<Discovered>,
) {
    let (mut last, mut sight, mut pause) = (None, Reachability::Whole, RETRY_FIRST);
    loop {
        let found = tokio::time::timeout(FIND_TIMEOUT, discovery.find()).await;
        let found = found.unwrap_or_else(|_| Err(format!("no answer within {} s", FIND_TIMEOUT.as_secs())));
        let (outcome, again) = match found.and_then(|found| permitted(found, &allowed)) {
            Ok(Endpoints { endpoints, again, error }) => {
                sight.change(
                    &url,
                    if error.is_some() { Reachability::Part } else { Reachability::Whole },
                    error,
                );
                pause = RETRY_FIRST;
                (Ok(endpoints), again)
            }
            Err(reason) => {
                sight.change(&url, Reachability::None, Some(reason.clone()));
                let wait = pause;
                pause = (pause * 2).min(RETRY_MAX);
                (Err(reason), wait)
            }
        };
        if last.as_ref() != Some(&outcome) {
            last = Some(outcome.clone());
            if to.send(Discovered { url: url.clone(), by, outcome }).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(jittered(again)).await;
    }
}

/// Removes endpoints that may not be called, duplicates, and what exceeds the limit. Of duplicates, the sum of the
/// weights and the best priority count.
fn permitted(mut found: Endpoints, allowed: &AllowedAddresses) -> Result<Endpoints, DiscoveryError> {
    let mut refused = None;
    found.endpoints.retain(|endpoint| {
        let is_allowed = endpoint.is_allowed(allowed);
        if !is_allowed {
            refused = Some(endpoint.url.to_string());
        }
        is_allowed
    });
    let mut distinct: Vec<Endpoint> = Vec::with_capacity(found.endpoints.len());
    for endpoint in std::mem::take(&mut found.endpoints) {
        match distinct.last_mut().filter(|last| last.url == endpoint.url) {
            // In order of URL, then priority.
            Some(last) => last.weight = last.weight.saturating_add(endpoint.weight),
            None => distinct.push(endpoint),
        }
    }
    found.endpoints = distinct.into_iter().collect();
    while found.endpoints.len() > ENDPOINTS_MAX {
        found.endpoints.pop_last();
    }
    match refused {
        _ if !found.endpoints.is_empty() => Ok(found),
        Some(url) => Err(format!(
            "{url} is a link-local or metadata address: it is refused unless `plugins.proxy.allow_addresses` has it"
        )),
        None => Err("there are none".to_owned()),
    }
}

#[cfg(test)]
mod tests;
