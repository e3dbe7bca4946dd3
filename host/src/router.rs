//! Decides where a call runs: one decision for calls from plugins, clients and peers.
//!
//! Layer: above `peers`. It must never know how a call came in, and it never runs one twice unless that is safe.

mod balance;
mod budget;
mod decision;
mod dispatch;
mod limited;
mod next;
mod offers;
mod once;
mod remote;
mod repeats;
mod running;
mod stack;

pub use decision::{Decision, Target, decide};
pub use dispatch::{PeerSet, Router, Routes, deadline_exceeded};
pub use repeats::{RepeatBounds, Repeats};
