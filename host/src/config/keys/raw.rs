//! The values of the file that are not plain, as serde reads them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// `functions` must be there, and one of the others.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawCaller {
    pub(in crate::config) keys: Option<Vec<String>>,
    pub(in crate::config) certificates: Option<Vec<String>>,
    pub(in crate::config) functions: Option<Vec<String>>,
}

/// Paths with their secrets.
pub(in crate::config) type RawRules = BTreeMap<String, Vec<String>>;

/// The limit of one plugin or function.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawLimit {
    pub(in crate::config) in_flight_max: Option<i64>,
    pub(in crate::config) queue_max: Option<i64>,
}

/// The allowed forms of a digest.
pub(in crate::config) const DIGEST_NEEDED: &str = "a SHA-256 of 64 hex digits, or a list of them";

/// One digest of a plugin, or several.
pub(in crate::config) enum RawDigests {
    One(String),
    List(Vec<String>),
}

// Written out, because an untagged enum loses where and what is wrong.
impl<'de> Deserialize<'de> for RawDigests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digests;
        impl<'de> Visitor<'de> for Digests {
            type Value = RawDigests;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(DIGEST_NEEDED)
            }

            fn visit_str<E>(self, digest: &str) -> Result<RawDigests, E> {
                Ok(RawDigests::One(digest.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, digests: A) -> Result<RawDigests, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(digests)).map(RawDigests::List)
            }
        }
        deserializer.deserialize_any(Digests)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawPeer {
    pub(in crate::config) enable: Option<Vec<String>>,
    pub(in crate::config) disable: Option<Vec<String>>,
    pub(in crate::config) key: Option<String>,
    pub(in crate::config) priority: Option<i64>,
    pub(in crate::config) weight: Option<i64>,
    pub(in crate::config) discover: Option<String>,
    pub(in crate::config) host_id: Option<String>,
    pub(in crate::config) bind: Option<bool>,
}

/// Both forms of `proxy_urls`.
pub(in crate::config) enum RawPeers {
    List(Vec<String>),
    Map(BTreeMap<String, RawPeer>),
}

impl Default for RawPeers {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// The allowed forms of `proxy_urls`.
const PEERS_NEEDED: &str = "a list of URLs, or a table of URL to { enable, disable, key, priority, weight, discover, host_id, bind }";

// Written out, because an untagged enum loses where and what is wrong.
impl<'de> Deserialize<'de> for RawPeers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Peers;
        impl<'de> Visitor<'de> for Peers {
            type Value = RawPeers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(PEERS_NEEDED)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, urls: A) -> Result<RawPeers, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(urls)).map(RawPeers::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, peers: A) -> Result<RawPeers, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(peers)).map(RawPeers::Map)
            }
        }
        deserializer.deserialize_any(Peers)
    }
}
