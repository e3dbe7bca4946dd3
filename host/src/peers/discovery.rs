//! Discovery: the peers behind one URL, found again and again. What was found stays in force until something else is:
//! losing discovery never removes a peer.

mod dns;
mod file;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::base::{Tasks, jittered};
use crate::config::{AllowedAddresses, Discover, PeerUrl};

use dns::{AddressDiscovery, ServiceDiscovery};
use file::FileDiscovery;

/// Most peers behind one URL.
const ENDPOINTS_MAX: usize = 256;
/// How long finding may take in all.
const FIND_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before it is tried again after nothing was found, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// One peer that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where it is.
    pub url: PeerUrl,
    /// Added to the configured priority; lower ones are called first.
    pub priority: u8,
    /// Its part of the calls, which the configured weight multiplies; at least 1.
    pub weight: u16,
}

impl Endpoint {
    /// One of no special standing.
    #[must_use]
    pub fn at(url: PeerUrl) -> Self {
        Self { url, priority: 0, weight: 1 }
    }

    /// Whether it may be called, as far as its URL says: what a name stands for is looked at when it is called.
    #[must_use]
    pub fn is_allowed(&self, allowed: &AllowedAddresses) -> bool {
        self.url.address().is_none_or(|address| allowed.allows(address))
    }
}

/// What was found.
#[derive(Debug)]
pub struct Endpoints {
    /// All peers, and at least one.
    pub endpoints: BTreeSet<Endpoint>,
    /// When to look again.
    pub again: Duration,
    /// Why these are not all, or are as they were before, if some could not be looked up.
    pub error: Option<DiscoveryError>,
}

/// Why nothing was found, in words for operators.
pub type DiscoveryError = String;

/// What [`Discovery::find`] answers.
pub type FindFuture<'a> = Pin<Box<dyn Future<Output = Result<Endpoints, DiscoveryError>> + Send + 'a>>;

/// One way to find the peers behind a URL. All there is to write for another one.
pub trait Discovery: Send {
    /// Looks for them once. It may be dropped at any point.
    fn find(&mut self) -> FindFuture<'_>;
}

/// What came of looking.
#[derive(Debug)]
pub struct Discovered {
    /// The URL of the config.
    pub url: PeerUrl,
    /// Who looked.
    pub by: DiscoveryTaskId,
    /// All that were found, or why none were.
    pub outcome: Result<BTreeSet<Endpoint>, DiscoveryError>,
}

/// The way to find the peers behind one URL. A reload keeps a task whose specification stays equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoverySpec {
    /// The URL of the config.
    pub url: PeerUrl,
    /// The kind of discovery.
    pub discover: Discover,
    /// The DNS servers to ask; none for those of the system.
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

/// Tells one [`DiscoveryTask`] from all others of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoveryTaskId(u64);

/// Looking for the peers behind one URL, until it is dropped or the host stops.
#[derive(Debug)]
pub struct DiscoveryTask {
    id: DiscoveryTaskId,
    ended: CancellationToken,
}

impl DiscoveryTask {
    /// Begins as a task of `tasks`, which sends to `to` what is new; nothing if the URL is the peer.
    #[must_use]
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

    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> DiscoveryTaskId {
        self.id
    }
}

impl Drop for DiscoveryTask {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// How much of what is behind a URL can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reachability {
    Whole,
    Part,
    None,
}

impl Reachability {
    /// Tells operators, once, that it is another now.
    fn change(&mut self, url: &PeerUrl, now: Self, reason: Option<DiscoveryError>) {
        let reason = reason.unwrap_or_default();
        match (std::mem::replace(self, now), now) {
            (before, now) if before == now => {}
            (_, Self::Whole) => tracing::info!(%url, "the peers of this URL are found again"),
            (_, Self::Part) => {
                tracing::warn!(%url, "some peers of this URL cannot be found, those that are known stay: {reason}");
            }
            (_, Self::None) => {
                tracing::warn!(%url, "the peers of this URL cannot be found, those that are known stay: {reason}");
            }
        }
    }
}

/// Ends when nobody wants to be told any more.
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

/// Leaves out what may not be called, what is too much, and what is there twice: the sum of its weights counts, and its
/// best priority.
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
