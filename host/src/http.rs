//! The public listener: sealed calls of peers, plain calls of other clients, the catalogue, health.
//! And the admin API, on listeners of its own.
//!
//! Each module uses only those before it, from a limit up to a listener: `limits`, `transcode`, `response`
//! and `tls`, `request`, `policy`, `documents`, `service`, `routes`, `accept` and `listener`, `admin`.
//!
//! Layer: above `router`. It alone knows HTTP statuses; it must never look into a frame, nor decide where a call runs.

mod accept;
pub mod admin;
mod documents;
mod limits;
mod listener;
mod policy;
mod request;
mod response;
mod routes;
mod service;
mod tls;
pub mod transcode;

pub use documents::Documents;
pub use limits::{BodyMemory, Limit, Meters};
pub use listener::{Server, Workers};
pub use policy::{Policy, Sealing};
pub use request::ConnectionInfo;
pub use response::Problem;
pub use service::{ConfigFiles, Ending, InForce, Service};
pub use tls::{ClientCertificate, Tls};

/// Returns true if a loopback listener with these names takes the request without a key; for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn comes_in_without_key(names: &[String], head: &http::request::Parts) -> bool {
    request::site::check(names, head).is_ok()
}
