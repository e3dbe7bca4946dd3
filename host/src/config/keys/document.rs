//! The whole file as serde reads it, before values are checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::{
    BODY_BYTES_MAX, IN_FLIGHT_MAX, RawAdmin, RawAuth, RawLimits, RawLog, RawProxy, RawReload, RawServer,
    RawTrust,
};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawConfig {
    pub(in crate::config) host_id: Option<String>,
    pub(in crate::config) plugin_dir: Option<String>,
    pub(in crate::config) state_dir: Option<String>,
    pub(in crate::config) load_plugins: Option<Vec<String>>,
    pub(in crate::config) server: RawServer,
    pub(in crate::config) admin: RawAdmin,
    pub(in crate::config) auth: Option<RawAuth>,
    pub(in crate::config) plugins: RawPlugins,
    pub(in crate::config) limits: RawLimits,
    pub(in crate::config) reload: RawReload,
    pub(in crate::config) trust: Option<RawTrust>,
    pub(in crate::config) log: RawLog,
}

impl RawConfig {
    /// Fills in the defaults that follow from other keys.
    pub(in crate::config) fn fill_in(&mut self) {
        let (server, proxy) = (&mut self.server, &mut self.plugins.proxy);
        let calls = IN_FLIGHT_MAX.nearest(server.in_flight_max);
        // Leaves room for the calls of all other functions, as far as there are permits to share.
        server.in_flight_per_function_max.get_or_insert(calls - calls / 4);
        proxy.in_flight_max.get_or_insert((calls / 4).max(1));
        proxy.answer_bytes_max.get_or_insert(BODY_BYTES_MAX.nearest(server.body_bytes_max));
    }
}

/// The host's own `[plugins.proxy]`, and the tables of plugins.
#[derive(Default)]
pub(in crate::config) struct RawPlugins {
    pub(in crate::config) proxy: RawProxy,
    pub(in crate::config) others: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
}

// Written out, because a flattened map loses where an error is.
impl<'de> Deserialize<'de> for RawPlugins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PluginsVisitor;
        impl<'de> Visitor<'de> for PluginsVisitor {
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
        deserializer.deserialize_map(PluginsVisitor)
    }
}
