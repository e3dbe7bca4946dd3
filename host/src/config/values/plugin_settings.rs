//! The table `[plugins.NAME]`: whatever it holds is for that plugin.

use std::fmt;

use serde_json::Value;

/// The table `[plugins.NAME]`, for that plugin's eyes only: `Debug` shows no values.
#[derive(Clone)]
pub struct PluginSettings {
    /// Always an object.
    pub(in crate::config) table: Value,
    /// Where its values were written, as the ABI has it.
    pub(in crate::config) origins: Value,
}

impl fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
