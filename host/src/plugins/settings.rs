//! What the config says of plugins.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Trust, Unmap};

/// What the registry is told by the config.
pub struct Settings {
    /// Where plugin files lie.
    pub directory: PathBuf,
    /// It may be missing: then there are no plugins.
    pub directory_may_be_missing: bool,
    /// How long `on_start` may take.
    pub start_timeout: Duration,
    /// How long calls may go on in a generation that was replaced.
    pub drain_timeout: Duration,
    /// How many retired generations `rollback` can bring back.
    pub keep_generations: usize,
    /// How many libraries may stay mapped without serving before `ready` says so.
    pub zombies_max: usize,
    /// Whether retired libraries are unmapped.
    pub unmap: Unmap,
    /// Whose plugin files are loaded.
    pub trust: Arc<Trust>,
    /// Answers `[plugins.NAME]`.
    pub config_of: Box<dyn Fn(&str) -> PluginConfig + Send + Sync>,
}

/// `[plugins.NAME]` as its plugin gets it.
#[derive(Clone, Default)]
pub struct PluginConfig {
    /// The table as JSON. A plugin is started again when it is another one.
    pub table: String,
    /// Where its values were written, as JSON (`config_origins` of the ABI).
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
