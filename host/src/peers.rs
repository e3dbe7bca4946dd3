//! Other framex-hosts: sealed calls to them over kept connections.
//!
//! Layer: above `plugins` (which it does not use) and `wire`. It must never decide whether a call goes to a peer,
//! nor make a call twice on its own, but for the one resend that a peer's clock asks for.

mod client;
mod connector;
mod health;
mod load;
mod peer;
mod resolver;

pub use client::Client;
pub use connector::{Connector, Stream};
pub use health::{Admission, Health};
pub use load::Latency;
pub use peer::{Answer, Peer, PeerLimit, Standing};
