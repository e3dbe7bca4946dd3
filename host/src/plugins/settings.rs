//! `[plugins.NAME]` as its plugin gets it.

use crate::config::Config;

/// `[plugins.NAME]` as its plugin gets it.
#[derive(Clone)]
pub(crate) struct PluginConfig {
    /// The table as JSON. A change starts the plugin again.
    pub(crate) table: String,
    /// The origins of its values, as JSON (`config_origins` of the ABI).
    pub(crate) origins: String,
}

impl PluginConfig {
    /// Takes the table of a plugin out of a config.
    pub(crate) fn of(config: &Config, plugin: &str) -> Self {
        let (table, origins) = (config.plugin_settings(plugin), config.plugin_origins(plugin));
        Self { table: table.to_string(), origins: origins.to_string() }
    }
}
