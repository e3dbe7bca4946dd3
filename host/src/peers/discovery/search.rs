//! One way to find the peers behind a URL, and the result of one search.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use crate::config::{AllowedAddresses, PeerUrl};

/// The maximum number of peers behind one URL.
pub(super) const ENDPOINTS_MAX: usize = 256;

/// One discovered peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Its URL.
    pub url: PeerUrl,
    /// Added to the configured priority; lower ones are called first.
    pub priority: u8,
    /// Its part of the calls, multiplied by the configured weight; at least 1.
    pub weight: u16,
}

impl Endpoint {
    /// Returns an endpoint of the configured priority and weight.
    pub fn at(url: PeerUrl) -> Self {
        Self { url, priority: 0, weight: 1 }
    }

    /// Returns true if it may be called, judging by its URL. The addresses of a name are checked when it is called.
    pub fn is_allowed(&self, allowed: &AllowedAddresses) -> bool {
        self.url.address().is_none_or(|address| allowed.allows(address))
    }
}

/// The result of one search.
#[derive(Debug)]
pub struct Endpoints {
    /// All peers, and at least one.
    pub endpoints: BTreeSet<Endpoint>,
    /// The time until the next search.
    pub again: Duration,
    /// The reason why some endpoints are missing, or as they were before, if some could not be looked up.
    pub error: Option<DiscoveryError>,
}

/// The reason why a search failed, in words for operators.
pub type DiscoveryError = String;

/// The future of [`Discovery::find`].
pub type FindFuture<'a> = Pin<Box<dyn Future<Output = Result<Endpoints, DiscoveryError>> + Send + 'a>>;

/// One way to find the peers behind a URL.
pub trait Discovery: Send {
    /// Searches once.
    ///
    /// # Cancel safety
    /// It may be dropped at any point.
    fn find(&mut self) -> FindFuture<'_>;
}
