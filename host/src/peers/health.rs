//! The health of a peer, by its answers: the breaker, the bulkhead, its failures and its latency. Pure but for memory:
//! times and chance are passed in.

mod breaker;
mod bulkhead;
mod history;
mod latency;
mod timestamp;

pub use breaker::{Breaker, BreakerPermit, BreakerState};
pub use bulkhead::Bulkhead;
pub use history::{Failing, History, LastError, Reached, Recent};
pub use latency::Latency;
pub use timestamp::Timestamp;
