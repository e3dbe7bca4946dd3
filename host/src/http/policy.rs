//! The policy of the public listener: who may ask for what, and how much. A reload of the config swaps it as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{Limiter, NamedCaller};
use crate::config::{Access, Server};
use crate::wire::{Compression, KeyId, KeyRing, Limits as WireLimits};

/// The policy of the public listener.
#[derive(Debug)]
pub struct Policy {
    /// The paths that need a key, and the callers.
    pub access: Access,
    /// The keys and rules for frames of peers.
    pub sealing: Sealing,
    /// The limit of calls from outside. There is one for as long as the host runs: what it allows changes, and the calls
    /// that run and wait go on counting.
    pub admission: Arc<Limiter>,
    /// Maximum sizes and times of requests, among others.
    pub server: Server,
    /// Bounds on frames of authentic senders.
    pub frames: WireLimits,
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
