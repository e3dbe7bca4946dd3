//! The table `[trust]`: the plugin files that this host loads.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::PublicKey;

use crate::base::Digest;

/// Bytes of a public key: algorithm, key id, key.
const KEY_BYTES: usize = 42;

/// The keys and digests that plugin files need; without any, this host loads every file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trust {
    /// One of these keys must have signed each plugin file; empty if files need no signature.
    pub keys: Vec<TrustedKey>,
    /// The digests that a plugin's file may have, by the name of the plugin. Without
    /// `keys`, a plugin that is not named is not loaded.
    pub sha256: BTreeMap<String, Vec<Digest>>,
    /// The files that some of `keys` were read from.
    pub files: Vec<PathBuf>,
}

impl Trust {
    /// Returns true if plugin files are checked.
    pub fn is_configured(&self) -> bool {
        !self.keys.is_empty() || !self.sha256.is_empty()
    }
}

/// A minisign public key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustedKey {
    /// The key, to verify with.
    pub key: PublicKey,
    /// The id that signatures name it by.
    pub id: MinisignKeyId,
    /// The one-line form, `RW...`.
    pub base64: String,
}

impl TrustedKey {
    /// Reads the one-line form.
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok().filter(|bytes| bytes.len() == KEY_BYTES)?;
        let key = PublicKey::from_base64(text).ok()?;
        Some(Self { key, id: MinisignKeyId::of(&bytes)?, base64: text.to_owned() })
    }
}

/// The id that signatures name a minisign key by, in the form of minisign: `D38650D0D7F309E7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinisignKeyId(u64);

impl MinisignKeyId {
    /// Reads the id in a decoded key or signature: the 8 bytes after the algorithm.
    pub fn of(decoded: &[u8]) -> Option<Self> {
        let bytes = decoded.get(2..10)?.try_into().ok()?;
        Some(Self(u64::from_le_bytes(bytes)))
    }
}

impl fmt::Display for MinisignKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}
