//! The vocabulary of all layers: names, codes, failures, invocations, time and tasks.
//!
//! Layer: the lowest of the host. It must never do I/O, nor know of HTTP, frames or plugins.

mod caller;
mod clock;
mod code;
mod date;
mod deadline;
mod digest;
mod duration;
mod executed;
mod failure;
mod hops;
mod host_permit;
mod identity;
mod inherited_permits;
mod invocation;
mod limiter;
mod lock;
mod log;
mod media_type;
mod meter;
mod name;
mod printable;
mod tasks;
mod validity;

pub use caller::{
    Caller, CertificateName, Credential, FunctionPattern, FunctionPatterns, InvalidPattern, NamedCaller,
};
pub use clock::Clock;
pub use code::ErrorCode;
pub use date::rfc3339;
pub use deadline::Deadline;
pub use digest::{Digest, Hex, InvalidDigest};
pub use duration::{jittered, milliseconds};
pub use executed::Executed;
pub use failure::Failure;
pub use hops::{DEPTH_MAX, HOPS_MAX, HostId};
pub use host_permit::{Away, HostPermit};
pub use identity::{Identity, InstanceId, SentHello};
pub use inherited_permits::InheritedPermits;
pub use invocation::{Guards, IDEMPOTENCY_KEY_BYTES_MAX, Invocation, RequestId, ServedBy};
pub use limiter::{AcquireError, ConcurrencyLimit, Limiter, Needs, Permit, Permits};
pub use lock::{Mutex, MutexGuard, RwLock};
pub use log::{flush_log, set_log_flush};
pub use media_type::media_type;
pub use meter::{Counter, LOG_LINES_DROPPED, Timings};
pub use name::{FunctionName, InvalidName, PLUGIN_NAME_BYTES_MAX, is_plugin_name, nearest};
pub use printable::{one_line, printable, printable_json};
pub use tasks::Tasks;
pub use validity::good_until;

/// The outcome of an invocation: the MessagePack bytes of the result, or the reason why there is none.
pub type Outcome = Result<bytes::Bytes, Box<Failure>>;
