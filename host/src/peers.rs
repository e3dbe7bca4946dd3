//! Other framex-hosts: sealed calls to them over kept connections, and what they say of themselves.
//!
//! Layer: above `plugins` (which it does not use) and `wire`. It must never decide whether a call goes to a peer,
//! nor make a call again that may have run.

mod acquaintance;
mod bulkhead;
mod catalogue;
mod cause;
mod client;
mod connections;
mod connector;
mod discovery;
mod expiry;
mod health;
mod history;
mod known;
mod load;
mod peer;
mod receiver;
mod resolver;
mod tunnel;
mod watch;

pub use acquaintance::{Binding, Met};
pub use bulkhead::Bulkhead;
pub use catalogue::{Catalogue, Offered};
pub use cause::{Cause, Cure};
pub use client::Client;
pub use connector::{Connector, Stream};
pub use discovery::{
    Discovered, Discovery, Endpoint, Finding, Following, FollowingId, Found, Lost, discovery_of,
};
pub use health::{Admission, Health};
pub use history::{Failing, History, LastError, Recent, Step};
pub use known::{Fetched, Known, Moment, Notes, Probed};
pub use load::Latency;
pub use peer::{Admitted, Allowed, Answer, Answered, Condition, Entry, Peer, PeerLimit, Standing};
pub use watch::{Asking, Watch};

/// Reads the catalogue of a peer; for fuzzing.
///
/// # Errors
/// Why it is none, in words.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn read_catalogue(bytes: &[u8]) -> Result<Catalogue, String> {
    Catalogue::parse(bytes, None).map_err(|error| error.to_string())
}
