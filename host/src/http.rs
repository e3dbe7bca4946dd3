//! The public listener: sealed calls of peers, plain calls of other clients, the catalogue, health.
//! And the admin API, on listeners of its own.
//!
//! The modules stand in the order of the way up from a limit to a listener: each uses only those above it in this list.
//!
//! Layer: above `router`. It alone knows HTTP statuses; it must never look into a frame, nor decide where a call runs.

mod limits;

mod response;
mod tls;

mod request;

mod policy;

mod documents;

mod service;

mod routes;

mod accept;
mod listener;

pub mod admin;

pub use documents::Documents;
pub use limits::{Admission, BodyMemory, CountedConnection, Limit, Meters};
pub use listener::{ListenerConfig, Server, Workers};
pub use policy::{Policy, RequestLimits, Sealing};
pub use request::ConnectionInfo;
pub use response::{Problem, transcode};
pub use service::{ConfigFiles, Ending, InForce, Service};
pub use tls::{ClientCertificate, Tls};

/// Returns true if a loopback listener with these names takes the request without a key; for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
#[must_use]
pub fn comes_in_without_key(names: &[String], head: &http::request::Parts) -> bool {
    request::site::check(names, head).is_ok()
}
