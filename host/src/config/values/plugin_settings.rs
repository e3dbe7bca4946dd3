//! The table `[plugins.NAME]`, for that plugin alone.

use std::fmt;

use serde_json::Value;

/// The table `[plugins.NAME]`; `Debug` shows no values.
#[derive(Clone)]
pub struct PluginSettings {
    /// Always an object.
    pub(in crate::config) table: Value,
    /// The origins of its values, as `config_origins` of the ABI has them.
    pub(in crate::config) origins: Value,
}

impl fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
