//! The policy of the public listener: who may ask for what, and how much. A reload of the config swaps it as a whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::limits::Admission;
use crate::base::NamedCaller;
use crate::config::Access;
use crate::wire::{Compression, KeyId, KeyRing, Limits as WireLimits};

/// The policy of the public listener.
#[derive(Debug)]
pub struct Policy {
    /// The paths that need a key, and the callers.
    pub access: Access,
    /// The keys and rules for frames of peers.
    pub sealing: Sealing,
    /// The limit of calls from outside.
    pub admission: Arc<Admission>,
    /// Sizes and times.
    pub limits: RequestLimits,
}

/// The keys and rules for frames of peers.
#[derive(Debug)]
pub struct Sealing {
    /// The keys of the rule for the path, and the keys of callers.
    pub ring: KeyRing,
    /// The callers whose keys are in the ring, by key; all other keys are of hosts.
    pub callers: HashMap<KeyId, Arc<NamedCaller>>,
    /// A frame that does not name this process is refused.
    pub require_receiver: bool,
    /// The compression of responses to other machines.
    pub compression: Compression,
}

/// Maximum sizes and times of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Longest body in bytes.
    pub body_bytes_max: usize,
    /// Longest result of a function that runs here, and longest JSON of any result, in bytes.
    pub answer_bytes_max: usize,
    /// Longest time for a body to arrive.
    pub body_timeout: Duration,
    /// Longest time of a call.
    pub call_timeout: Duration,
    /// Bounds on frames of authentic senders.
    pub wire: WireLimits,
}
