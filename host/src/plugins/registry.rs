//! The plugins of this host by name, with their state in memory and on disk.

pub(super) mod entry;
pub(super) mod failures;
pub(super) mod record;
pub(super) mod stopwatch;
pub(super) mod tries;

use std::collections::BTreeMap;
use std::sync::Arc;

use entry::Entry;

use crate::base::{Digest, Mutex, nearest};
use crate::plugins::error::PluginError;
use crate::plugins::load::generation::Generation;

/// Longest part of an unknown name that an error repeats, in characters.
const UNKNOWN_CHARS_MAX: usize = 64;

/// The plugins by name, for as long as the host runs.
#[derive(Default)]
pub(crate) struct Registry(Mutex<BTreeMap<String, Arc<Entry>>>);

impl Registry {
    /// Returns the entry of a plugin, and adds one if there is none: only for names that came out of a checked file.
    pub(crate) fn entry(&self, name: &str) -> Arc<Entry> {
        Arc::clone(self.0.lock().entry(name.to_owned()).or_default())
    }

    /// Returns the entry of a plugin that was loaded before.
    ///
    /// # Errors
    /// [`PluginError::Unknown`], with the nearest names.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Entry>, PluginError> {
        let entries = self.0.lock();
        entries.get(name).map(Arc::clone).ok_or_else(|| {
            let near = nearest(name, entries.keys().map(String::as_str), 3);
            PluginError::Unknown {
                plugin: name.chars().take(UNKNOWN_CHARS_MAX).collect(),
                near: near.join("`, `"),
            }
        })
    }

    /// Returns all entries, in the order of the names.
    pub(crate) fn all(&self) -> Vec<(String, Arc<Entry>)> {
        self.0.lock().iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))).collect()
    }

    /// Returns true if a build serves, or has served and is kept.
    pub(crate) fn has_served(&self, sha256: Digest) -> bool {
        self.all().iter().any(|(_, entry)| entry.state().has_served(sha256))
    }

    /// Runs `act` on each generation that serves.
    pub(crate) fn for_each_published(&self, act: impl Fn(&Generation)) {
        for (_, entry) in self.all() {
            if let Some(published) = &entry.state().published {
                act(&published.generation);
            }
        }
    }
}
