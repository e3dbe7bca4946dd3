//! One call of a function by name: who asks, how long it may take, where it has been.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Caller, Credential, Deadline, FunctionName, Hex, HostId, HostPermit, InheritedPermits};

/// Longest idempotency key in bytes (WIRE.md, field 5 of a request).
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;

/// Names one call in logs, answers and frames; 16 random bytes, shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// A new random id, from the thread's seeded generator.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(&self.0))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One call of a function.
///
/// The arguments travel beside it: they are moved once, this is shared with nested calls.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Names it in logs and answers.
    pub id: RequestId,
    /// The called function.
    pub function: FunctionName,
    /// The caller.
    pub caller: Caller,
    /// When it must have ended.
    pub deadline: Deadline,
    /// Hosts that it has already been through, oldest first; at most [`HOPS_MAX`](super::HOPS_MAX).
    pub hops: Vec<HostId>,
    /// The number of enclosing calls, over all hosts; at most [`DEPTH_MAX`](super::DEPTH_MAX).
    pub depth: u64,
    /// W3C `traceparent`, checked for its length only.
    pub traceparent: Option<Arc<str>>,
    /// Makes a repeat of the call recognisable; at most [`IDEMPOTENCY_KEY_BYTES_MAX`].
    pub idempotency_key: Option<Bytes>,
    /// The other host that ran it, once one has answered.
    pub served_by: ServedBy,
    /// Dropped when the call has ended, also if its caller does not wait for that.
    pub guards: Guards,
    /// Its permit among the calls of the host, which calls share that are made within each other.
    pub host_permit: HostPermit,
    /// The permits of the calls that it is made within.
    pub inherited: InheritedPermits,
}

/// Length, in bytes, of the idempotency keys that peers see instead of the callers' own.
const DIGEST_BYTES: usize = 32;

impl Invocation {
    /// Returns the call with the time limit of its function, if that ends before its deadline.
    pub fn within(self: Arc<Self>, timeout: Option<Duration>) -> Arc<Self> {
        match timeout.map(Deadline::after).filter(|own| *own < self.deadline) {
            Some(deadline) => Arc::new(Self { deadline, ..Self::clone(&self) }),
            None => self,
        }
    }

    /// The idempotency key as a peer sees it, to which calls are sealed with the key `sealing`.
    ///
    /// For a peer all callers of this host are one. So the key of a caller that differs from the others has that inside:
    /// no caller gets the outcome of another one's call. A host that sealed with the very key that this one seals with
    /// is the same caller to the peer, by any way that its call takes. A key of any caller may have the bytes of such a
    /// digest, so one of that length is never passed on as it came.
    pub fn key_for_peers(&self, sealing: [u8; 8]) -> Option<Bytes> {
        let key = self.idempotency_key.as_ref()?;
        let (kind, name) = match &self.caller {
            Caller::Peer(_, Credential::Sealed(id)) if *id == sealing => return Some(key.clone()),
            Caller::Client(Credential::None) | Caller::Peer(_, Credential::None) | Caller::Unnamed
                if key.len() != DIGEST_BYTES =>
            {
                return Some(key.clone());
            }
            Caller::Unnamed => ("unnamed", &[][..]),
            Caller::Client(credential) | Caller::Peer(_, credential) => credential.parts(),
            Caller::Named(caller) => ("caller", caller.name.as_bytes()),
            Caller::Plugin(name) => ("plugin", name.as_bytes()),
        };
        let digest = Sha256::new().chain_update(kind).chain_update([0]);
        let digest = digest.chain_update((name.len() as u64).to_le_bytes()).chain_update(name);
        Some(Bytes::copy_from_slice(&digest.chain_update(key).finalize()))
    }
}

/// Guards of a call, dropped when it ends: permits, the memory of its arguments. Clones share them, so a call that is
/// made within another one, and goes on without it, keeps the guards of that one.
#[derive(Clone, Default)]
pub struct Guards(
    #[expect(dead_code, reason = "kept only for its `Drop`")] Option<Arc<dyn Any + Send + Sync>>,
);

impl Guards {
    /// Returns these and one more.
    pub fn with(&self, guard: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new((guard, self.clone()))))
    }
}

impl fmt::Debug for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guards")
    }
}

/// The id of the host that ran a call, if it was another one, and whether it ran for an earlier call with the same
/// idempotency key. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ServedBy(Arc<Served>);

#[derive(Debug, Default)]
struct Served {
    host: OnceLock<HostId>,
    is_repeat: AtomicBool,
    /// A peer may have run the call, and its answer did not arrive.
    is_lost: AtomicBool,
}

impl ServedBy {
    /// Notes the host; the first one stays, as a call runs once.
    pub fn set(&self, host: HostId) {
        self.0.host.get_or_init(|| host);
    }

    /// The host, if another one ran the call.
    pub fn host(&self) -> Option<&HostId> {
        self.0.host.get()
    }

    /// Notes that the outcome is that of an earlier call.
    pub fn repeats(&self) {
        self.0.is_repeat.store(true, Ordering::Relaxed);
    }

    /// Notes that a peer may have run the call, and its answer did not arrive.
    pub fn lost(&self) {
        self.0.is_lost.store(true, Ordering::Relaxed);
    }

    /// Notes that a peer says that the outcome is that of an earlier call, which may be this very one.
    pub fn repeats_at_peer(&self) {
        if !self.0.is_lost.load(Ordering::Relaxed) {
            self.repeats();
        }
    }

    /// Returns true if the outcome is that of an earlier call.
    pub fn is_repeat(&self) -> bool {
        self.0.is_repeat.load(Ordering::Relaxed)
    }
}
