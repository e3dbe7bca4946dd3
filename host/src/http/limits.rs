//! Limits on the clients of the public listener (connections, requests, memory and calls), and counts of each limit that
//! acted.

mod activity;
mod admission;
mod body_memory;
mod connections;
mod meters;
mod strangers;
mod throttle;
mod wrong_keys;

pub use admission::Admission;
pub use body_memory::BodyMemory;
pub use meters::{CountedConnection, Limit, Meters};

pub(crate) use activity::{Activity, InFlight, Times};
pub(crate) use body_memory::{MemoryPermit, OutOfMemory};
pub(crate) use connections::{ConnectionSlot, Connections};
pub(crate) use strangers::Strangers;
pub(crate) use throttle::Throttle;
