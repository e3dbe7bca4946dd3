//! Other framex-hosts: sealed calls to them over kept connections.
//!
//! Layer: above `plugins` (which it does not use) and `wire`. It must never decide whether a call goes to a peer,
//! nor make a call twice on its own, but for the one resend that a peer's clock asks for.

mod client;
mod connector;
mod peer;
mod resolver;

pub use client::Client;
pub use connector::{Connector, Stream};
pub use peer::{Answer, Peer};
