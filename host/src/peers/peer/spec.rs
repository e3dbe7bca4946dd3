//! The specification of a peer: what the config and discovery say of it.

use std::sync::Arc;

use super::{Binding, Probes};
use crate::config::PeerUrl;
use crate::peers::Client;
use crate::wire::{Compression, KeyId, KeySet, Limits};

/// Everything that a peer is made from. A reload keeps a peer whose specification stays equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSpec {
    /// Its URL.
    pub url: PeerUrl,
    /// The URL of the config that discovery found it behind, if it did.
    pub discovered_via: Option<PeerUrl>,
    /// The key that seals calls to it. Without one, every call is refused.
    pub key: Option<Arc<KeySet>>,
    /// Makes the connections to it.
    pub client: Client,
    /// The compression of frames to it.
    pub compression: Compression,
    /// The limits on its answers.
    pub limits: Limits,
    /// The requirements on the host that answers at the URL.
    pub binding: Binding,
    /// Its rank among the peers of one function.
    pub rank: Rank,
    /// The requests besides calls that the config allows.
    pub probes: Probes,
}

/// The rank of a peer among others for the same function, by the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// Lower ones are called first.
    pub priority: u8,
    /// Its part of the calls, relative to other weights; at least 1.
    pub weight: u16,
}

impl PeerSpec {
    /// The id of the key that seals calls to it, if this host has one.
    pub fn key_id(&self) -> Option<KeyId> {
        self.key.as_ref().map(|key| key.id())
    }

    /// Returns true if the way to it proves who answers: TLS, or an address of this machine.
    pub(in crate::peers) fn is_proven_way(&self) -> bool {
        self.url.is_https() || self.url.is_loopback()
    }
}
