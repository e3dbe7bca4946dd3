//! The shape of the file for serde, before values are checked; the defaults are filled in after it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

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

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServer {
    pub(super) host: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) names: Vec<String>,
    pub(super) body_bytes_max: Option<i64>,
    pub(super) answer_bytes_max: Option<i64>,
    pub(super) body_memory_max: Option<i64>,
    pub(super) connections_max: Option<i64>,
    pub(super) connections_per_address_max: Option<i64>,
    pub(super) proxies: Vec<String>,
    pub(super) body_timeout_ms: Option<i64>,
    pub(super) idle_timeout_ms: Option<i64>,
    pub(super) write_timeout_ms: Option<i64>,
    pub(super) in_flight_max: Option<i64>,
    pub(super) in_flight_per_function_max: Option<i64>,
    pub(super) queue_max: Option<i64>,
    pub(super) header_bytes_max: Option<i64>,
    pub(super) nesting_max: Option<i64>,
    pub(super) expansion_max: Option<i64>,
    pub(super) idempotency_keep_ms: Option<i64>,
    pub(super) idempotency_bytes_max: Option<i64>,
    pub(super) header_timeout_ms: Option<i64>,
    pub(super) call_timeout_ms: Option<i64>,
    pub(super) layer_percent: Option<i64>,
    pub(super) shutdown_delay_ms: Option<i64>,
    pub(super) drain_timeout_ms: Option<i64>,
    pub(super) tls: Option<RawServerTls>,
}

/// Both must be there: without one, the listener would quietly not be encrypted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServerTls {
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) client_ca: Option<String>,
}

/// One of them must be there: an empty `[auth]` would only seem to protect something.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAuth {
    pub(super) rules: Option<RawRules>,
    pub(super) callers: Option<BTreeMap<String, RawCaller>>,
}

/// `functions` must be there, and one of the others.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCaller {
    pub(super) keys: Option<Vec<String>>,
    pub(super) certificates: Option<Vec<String>>,
    pub(super) functions: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProxyAuth {
    pub(super) rules: RawRules,
}

/// Paths with their secrets.
pub(super) type RawRules = BTreeMap<String, Vec<String>>;

/// By names of plugins, and of functions.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    pub(super) plugins: BTreeMap<String, RawLimit>,
    pub(super) functions: BTreeMap<String, RawLimit>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimit {
    pub(super) in_flight_max: Option<i64>,
    pub(super) queue_max: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawReload {
    pub(super) start_timeout_ms: Option<i64>,
    pub(super) drain_timeout_ms: Option<i64>,
    pub(super) watch: Option<bool>,
    pub(super) keep_generations: Option<i64>,
    pub(super) zombies_max: Option<i64>,
    pub(super) unmap: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTrust {
    pub(super) sha256: Option<BTreeMap<String, RawDigests>>,
    pub(super) keys: Option<Vec<String>>,
}

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
pub(super) struct RawAdmin {
    pub(super) socket: Option<String>,
    pub(super) listen: Option<String>,
    pub(super) token: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawProxy {
    pub(super) proxy_urls: RawPeers,
    pub(super) white_list: Option<Vec<String>>,
    pub(super) proxy_functions: BTreeMap<String, Vec<String>>,
    pub(super) fallback: Option<String>,
    pub(super) compression: Option<String>,
    pub(super) require_receiver: Option<bool>,
    pub(super) answer_bytes_max: Option<i64>,
    pub(super) in_flight_max: Option<i64>,
    pub(super) wait_ms: Option<i64>,
    pub(super) idle_timeout_ms: Option<i64>,
    pub(super) allow_addresses: Vec<String>,
    pub(super) dns_servers: Vec<String>,
    pub(super) catalogue_interval_ms: Option<i64>,
    pub(super) catalogue_bytes_max: Option<i64>,
    pub(super) tls: RawPeerTls,
    pub(super) auth: Option<RawProxyAuth>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPeerTls {
    pub(super) ca: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
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
