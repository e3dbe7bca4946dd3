//! What every layer speaks of: names, codes, failures, invocations, time and tasks.
//!
//! Layer: the lowest of the host. It must never do I/O, nor know of HTTP, frames or plugins.

mod caller;
mod clock;
mod code;
mod failure;
mod identity;
mod invocation;
mod meter;
mod name;
mod places;
mod tasks;

pub use caller::{Caller, FunctionPattern, FunctionPatterns, InvalidPattern, NamedCaller};
pub use clock::Clock;
pub use code::ErrorCode;
pub use failure::Failure;
pub use identity::{Identity, InstanceId, SentHello};
pub use invocation::{
    Deadline, HOPS_MAX, Held, HostId, IDEMPOTENCY_KEY_BYTES_MAX, Invocation, RequestId, ServedBy,
};
pub use meter::{Counter, Timings};
pub use name::{FunctionName, InvalidName, nearest};
pub use places::{HeldPlaces, NoPlace, Place, PlaceLimit, Places};
pub use tasks::Tasks;

/// What an invocation came to: the MessagePack bytes of the result, or why there is none.
pub type Outcome = Result<bytes::Bytes, Box<Failure>>;
