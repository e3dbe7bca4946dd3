//! What a peer's answers have shown of it: whether it may be called now, how many calls it takes, how it fails, and how
//! fast it answers. Pure but for memory: times and chance are passed in.

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
