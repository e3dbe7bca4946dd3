//! The shape of the file for serde, before values are checked; the defaults are filled in after it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::keys::{RawAdmin, RawAuth, RawLimits, RawLog, RawProxy, RawReload, RawServer, RawTrust};
use super::trust::DIGEST_NEEDED;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConfig {
    pub(super) host_id: Option<String>,
    pub(super) plugin_dir: Option<String>,
    pub(super) state_dir: Option<String>,
    pub(super) load_plugins: Option<Vec<String>>,
    pub(super) server: RawServer,
    pub(super) admin: RawAdmin,
    pub(super) auth: Option<RawAuth>,
    pub(super) plugins: RawPlugins,
    pub(super) limits: RawLimits,
    pub(super) reload: RawReload,
    pub(super) trust: Option<RawTrust>,
    pub(super) log: RawLog,
}

/// `functions` must be there, and one of the others.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCaller {
    pub(super) keys: Option<Vec<String>>,
    pub(super) certificates: Option<Vec<String>>,
    pub(super) functions: Option<Vec<String>>,
}

/// Paths with their secrets.
pub(super) type RawRules = BTreeMap<String, Vec<String>>;

/// One digest of a plugin, or several.
pub(super) enum RawDigests {
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

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<RawDigests, A::Error> {
                let mut digests = Vec::new();
                while let Some(digest) = elements.next_element()? {
                    digests.push(digest);
                }
                Ok(RawDigests::List(digests))
            }
        }
        deserializer.deserialize_any(Digests)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPeer {
    pub(super) enable: Option<Vec<String>>,
    pub(super) disable: Option<Vec<String>>,
    pub(super) key: Option<String>,
    pub(super) priority: Option<i64>,
    pub(super) weight: Option<i64>,
    pub(super) discover: Option<String>,
    pub(super) host_id: Option<String>,
    pub(super) bind: Option<bool>,
}

/// Both forms of `proxy_urls`.
pub(super) enum RawPeers {
    List(Vec<String>),
    Map(BTreeMap<String, RawPeer>),
}

impl Default for RawPeers {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// What serde says that it expects.
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

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<RawPeers, A::Error> {
                let mut urls = Vec::new();
                while let Some(url) = elements.next_element()? {
                    urls.push(url);
                }
                Ok(RawPeers::List(urls))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawPeers, A::Error> {
                let mut peers = BTreeMap::new();
                while let Some((url, peer)) = entries.next_entry()? {
                    peers.insert(url, peer);
                }
                Ok(RawPeers::Map(peers))
            }
        }
        deserializer.deserialize_any(Peers)
    }
}

/// The host's own `[plugins.proxy]`, and the tables of plugins.
#[derive(Default)]
pub(super) struct RawPlugins {
    pub(super) proxy: RawProxy,
    pub(super) others: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
}

// Written out, because a flattened map loses where an error is.
impl<'de> Deserialize<'de> for RawPlugins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Plugins;
        impl<'de> Visitor<'de> for Plugins {
            type Value = RawPlugins;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawPlugins, A::Error> {
                let mut plugins = RawPlugins::default();
                while let Some(name) = entries.next_key::<String>()? {
                    if name == "proxy" {
                        plugins.proxy = entries.next_value()?;
                    } else {
                        plugins.others.insert(name, entries.next_value()?);
                    }
                }
                Ok(plugins)
            }
        }
        deserializer.deserialize_map(Plugins)
    }
}
