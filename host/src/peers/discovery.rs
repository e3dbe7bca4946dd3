//! Discovery: the peers behind one URL, found again and again. What was found stays in force until something else is:
//! losing discovery never removes a peer.

mod dns;
mod file;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::base::Tasks;
use crate::config::{AllowedAddresses, Discover, PeerUrl, Proxy};

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
    /// Lower ones come first; it counts on from the configured priority.
    pub rank: u8,
    /// Its part of the calls, which the configured weight multiplies; at least 1.
    pub weight: u16,
}

impl Endpoint {
    /// One of no special standing.
    #[must_use]
    pub fn at(url: PeerUrl) -> Self {
        Self { url, rank: 0, weight: 1 }
    }

    /// Whether it may be called, as far as its URL says: what a name stands for is looked at when it is called.
    #[must_use]
    pub fn is_allowed(&self, allowed: &AllowedAddresses) -> bool {
        self.url.address().is_none_or(|address| allowed.allows(address))
    }
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// All peers, and at least one.
    pub endpoints: BTreeSet<Endpoint>,
    /// When to look again.
    pub again: Duration,
    /// Why these are not all, or are as they were before, if some could not be looked up.
    pub lost: Option<Lost>,
}

/// Why nothing was found, in words for operators.
pub type Lost = String;

/// What [`Discovery::find`] answers.
pub type Finding<'a> = Pin<Box<dyn Future<Output = Result<Found, Lost>> + Send + 'a>>;

/// One way to find the peers behind a URL. All there is to write for another one.
pub trait Discovery: Send {
    /// Looks for them once. It may be dropped at any point.
    fn find(&mut self) -> Finding<'_>;
}

/// What came of looking.
#[derive(Debug)]
pub struct Discovered {
    /// The URL of the config.
    pub url: PeerUrl,
    /// Who looked.
    pub by: FollowingId,
    /// All that were found, or why none were.
    pub outcome: Result<BTreeSet<Endpoint>, Lost>,
}

/// The way that the config says, if it says another than that the URL is the peer.
#[must_use]
pub fn discovery_of(url: &PeerUrl, discover: &Discover, proxy: &Proxy) -> Option<Box<dyn Discovery>> {
    let (url, servers) = (url.clone(), &proxy.dns_servers);
    match discover {
        Discover::Static => None,
        Discover::Dns => Some(Box::new(AddressDiscovery::new(url, servers))),
        Discover::Srv => Some(Box::new(ServiceDiscovery::new(url, servers))),
        Discover::File(path) => Some(Box::new(FileDiscovery::new(url, path.clone()))),
    }
}

/// Tells one [`Following`] from all others of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowingId(u64);

/// Looking for the peers behind one URL, until it is dropped or the host stops.
#[derive(Debug)]
pub struct Following {
    id: FollowingId,
    ended: CancellationToken,
}

impl Following {
    /// Begins, as a task of `tasks`, and tells `to` whatever is new. Addresses that are not allowed do not count.
    #[must_use]
    pub fn start(
        url: PeerUrl,
        discovery: Box<dyn Discovery>,
        allowed: AllowedAddresses,
        to: mpsc::Sender<Discovered>,
        tasks: &Tasks,
    ) -> Self {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let id = FollowingId(STARTED.fetch_add(1, Ordering::Relaxed));
        let ended = CancellationToken::new();
        let (token, stopping) = (ended.clone(), tasks.token().clone());
        let _owned = tasks.spawn(async move {
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
    pub fn id(&self) -> FollowingId {
        self.id
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// How much of what is behind a URL can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Whole,
    Part,
    None,
}

impl Sight {
    /// Tells operators, once, that it is another now.
    fn change(&mut self, url: &PeerUrl, now: Self, reason: Option<Lost>) {
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
    (url, by): (PeerUrl, FollowingId),
    mut discovery: Box<dyn Discovery>,
    allowed: AllowedAddresses,
    to: mpsc::Sender<Discovered>,
) {
    let (mut last, mut sight, mut pause) = (None, Sight::Whole, RETRY_FIRST);
    loop {
        let found = tokio::time::timeout(FIND_TIMEOUT, discovery.find()).await;
        let found = found.unwrap_or_else(|_| Err(format!("no answer within {} s", FIND_TIMEOUT.as_secs())));
        let (outcome, again) = match found.and_then(|found| permitted(found, &allowed)) {
            Ok(Found { endpoints, again, lost }) => {
                sight.change(&url, if lost.is_some() { Sight::Part } else { Sight::Whole }, lost);
                pause = RETRY_FIRST;
                (Ok(endpoints), again)
            }
            Err(reason) => {
                sight.change(&url, Sight::None, Some(reason.clone()));
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
        // Half of it to all of it: hosts that began together do not go on together.
        tokio::time::sleep(again.mul_f64(rand::random::<f64>().mul_add(0.5, 0.5))).await;
    }
}

/// Leaves out what may not be called, what is too much, and what is there twice: the sum of its weights counts, and its
/// best rank.
fn permitted(mut found: Found, allowed: &AllowedAddresses) -> Result<Found, Lost> {
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
            // In order of URL, then rank.
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
