//! Decides where a call runs: one decision for calls from plugins, clients and peers.
//!
//! Layer: above `peers`. It must never know how a call came in, and it never runs one twice unless that is safe.

mod attempts;
mod balance;
mod budget;
mod decision;
mod dispatch;
mod idempotency;
mod limited;
mod next;
mod not_found;
mod offers;
mod stack;
mod until_deadline;

pub use decision::{Decision, Target, decide};
pub use dispatch::{PeerSet, Router, Routes};
pub use idempotency::outcomes::{OutcomeBounds, Outcomes};
pub use until_deadline::deadline_exceeded;
