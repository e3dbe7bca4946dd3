//! Other framex-hosts: sealed calls to them over kept connections, their catalogues, and their discovery.
//!
//! Layer: above `plugins` (which it does not use) and `wire`. It must never decide whether a call goes to a peer,
//! nor make a call again that may have run.

mod catalogue;
mod cause;
mod discovery;
mod health;
mod monitor;
mod peer;
mod transport;

pub use catalogue::{Catalogue, Offered};
pub use cause::{Cause, Cure};
pub use discovery::{
    Discovered, Discovery, DiscoveryError, DiscoverySpec, DiscoveryTask, DiscoveryTaskId, Endpoint,
    Endpoints, FindFuture,
};
pub use health::{
    Breaker, BreakerPermit, BreakerState, Bulkhead, Failing, History, LastError, Latency, Reached, Recent,
    Timestamp,
};
pub use monitor::{CatalogueOptions, Monitor};
pub use peer::{
    Binding, Condition, FetchResult, LastChecks, NoPermit, Peer, PeerAnswer, PeerInfo, PeerLimit, PeerPermit,
    PeerResult, PeerSpec, ProbeResult, Probes, Rank, Responder,
};
pub use transport::{Client, Connector, Stream};

/// Reads the catalogue of a peer; for fuzzing.
///
/// # Errors
/// The reason why the bytes are not a catalogue, in words.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn read_catalogue(bytes: &[u8]) -> Result<Catalogue, String> {
    Catalogue::parse(bytes, None).map_err(|error| error.to_string())
}
