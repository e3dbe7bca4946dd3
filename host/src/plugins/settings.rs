//! The settings of plugins, from the config.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Trust, Unmap};

/// The settings of plugins.
pub struct Settings {
    /// The plugin directory.
    pub directory: PathBuf,
    /// A missing directory means that there are no plugins.
    pub directory_may_be_missing: bool,
    /// Time limit of `on_start`.
    pub start_timeout: Duration,
    /// Time that calls have to end in a generation that was replaced.
    pub drain_timeout: Duration,
    /// Number of retired generations that `rollback` can bring back.
    pub keep_generations: usize,
    /// Number of libraries that may stay mapped without serving before `ready` warns.
    pub zombies_max: usize,
    /// The treatment of retired libraries.
    pub unmap: Unmap,
    /// The checks that plugin files must pass.
    pub trust: Arc<Trust>,
    /// Returns `[plugins.NAME]`.
    pub config_of: Box<dyn Fn(&str) -> PluginConfig + Send + Sync>,
}

/// `[plugins.NAME]` as its plugin gets it.
#[derive(Clone, Default)]
pub struct PluginConfig {
    /// The table as JSON. A change starts the plugin again.
    pub table: String,
    /// The origins of its values, as JSON (`config_origins` of the ABI).
    pub origins: String,
}

impl std::fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("directory", &self.directory).finish_non_exhaustive()
    }
}
