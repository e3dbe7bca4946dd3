//! Limits on the clients of the public listener (connections, requests, memory and calls), and counts of each limit that
//! acted.

mod activity;
mod body_memory;
mod connections;
mod log_lines;
mod meters;
mod strangers;

pub use body_memory::BodyMemory;
pub use meters::{Limit, Meters};

pub(crate) use activity::{Activity, InFlight, Times};
pub(crate) use body_memory::{MemoryPermit, OutOfMemory};
pub(crate) use connections::{ConnectionSlot, Connections};
pub(crate) use log_lines::Throttle;
pub(crate) use strangers::Strangers;
