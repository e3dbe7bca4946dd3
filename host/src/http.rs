//! The public listener: sealed calls of peers, plain calls of everybody else, the catalogue, health.
//! And the admin API, on a listener of its own.
//!
//! Layer: above `router`. It alone knows HTTP statuses; it must never look into a frame, nor decide where a call runs.

mod accept;
mod activity;
pub mod admin;
mod admission;
mod answer;
mod asked;
mod auth;
mod body;
mod call;
mod catalogue;
mod conditional;
mod connections;
mod documents;
mod door;
mod ending;
mod head;
mod head_time;
mod health;
mod in_force;
mod lingering;
mod meters;
mod openapi;
mod pace;
mod problem;
mod remote;
mod server;
mod strangers;
mod throttle;
mod tls;
pub mod transcode;
mod write_timeout;
mod wrong_keys;

pub use admission::Admission;
pub use body::BodyMemory;
pub use documents::Documents;
pub use door::{Door, Limits, Policy, Sealing, Sender};
pub use ending::Ending;
pub use in_force::{Files, InForce};
pub use meters::{Limit, Meters, OpenConnection};
pub use problem::Problem;
pub use server::{Listening, Server, Workers};
pub use tls::{Credential, Tls};

/// Returns true if a loopback listener with these names takes the request without a key; for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
#[must_use]
pub fn comes_in_without_key(names: &[String], head: &http::request::Parts) -> bool {
    asked::check(names, head).is_ok()
}

/// Every answer has its body at hand.
type Response = http::Response<http_body_util::Full<bytes::Bytes>>;
