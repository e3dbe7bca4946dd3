//! The files and plugins that are not served, and since when, for `/ready`, `plugins list`, the metrics, and a reload of
//! the host, which fails for new ones only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::api::FailedPlugin;
use crate::base::{Digest, Mutex, rfc3339};
use crate::files::Stamp;
use crate::plugins::error::PluginError;
use crate::plugins::file::name_of;
use crate::plugins::file::on_disk::{Held, Now, now};

/// A file or plugin that is not served.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Name of the file or plugin; empty for a fault of the directory as a whole.
    pub what: String,
    /// The reason.
    pub error: PluginError,
    /// Digest of the file, if it could be read.
    pub(crate) sha256: Option<Digest>,
    /// The file, and its stamp when it failed.
    pub(crate) file: Option<(PathBuf, Option<Stamp>)>,
}

impl Failed {
    /// Makes one that is of no single file or plugin.
    pub(crate) fn of_all(error: PluginError) -> Self {
        Self::of_plugin("", error, None)
    }

    pub(crate) fn of_plugin(plugin: &str, error: PluginError, sha256: Option<Digest>) -> Self {
        Self { what: plugin.to_owned(), error, sha256, file: None }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// Adds when it began: as long ago as the same was noted.
    fn since(self, noted: &Noted) -> (Self, SystemTime) {
        let known = noted.get(&self.what).filter(|(known, _)| is_same(known, &self));
        let since = known.map_or_else(SystemTime::now, |(_, since)| *since);
        (self, since)
    }
}

impl Held {
    /// Name of the file.
    pub(crate) fn file(&self) -> String {
        name_of(&self.path)
    }

    /// The file as one that is not served.
    pub(crate) fn refused(&self, error: PluginError) -> Failed {
        let at = Some((self.path.clone(), Stamp::at(&self.path)));
        Failed { what: self.file(), error, sha256: Some(self.sha256), file: at }
    }
}

/// Files and plugins that are not served, by name, and since when.
type Noted = BTreeMap<String, (Failed, SystemTime)>;

/// All that is not served.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<Noted>);

impl Failures {
    /// Replaces all, but for what was known of the builds with these digests.
    pub(crate) fn replace(&self, failed: impl IntoIterator<Item = Failed>, kept: &BTreeSet<Digest>) {
        let mut noted = self.0.lock();
        let before = std::mem::take(&mut *noted);
        for failed in failed {
            noted.insert(failed.what.clone(), failed.since(&before));
        }
        for (what, known) in before {
            if known.0.sha256.is_some_and(|sha256| kept.contains(&sha256)) {
                noted.entry(what).or_insert(known);
            }
        }
    }

    pub(crate) fn note(&self, failed: Failed) {
        let mut noted = self.0.lock();
        let (what, failed) = (failed.what.clone(), failed.since(&noted));
        noted.insert(what, failed);
    }

    pub(crate) fn forget(&self, what: &str) {
        self.0.lock().remove(what);
    }

    /// Returns true if this was so before.
    pub(crate) fn has(&self, failed: &Failed) -> bool {
        self.0.lock().get(&failed.what).is_some_and(|(known, _)| is_same(known, failed))
    }

    /// Returns the fault of a file or plugin, and when it began.
    pub(crate) fn of(&self, what: &str) -> Option<(String, SystemTime)> {
        self.0.lock().get(what).map(|(failed, since)| (failed.error.to_string(), *since))
    }

    /// Returns all current failures, without files that are gone since.
    pub(crate) fn all(&self) -> Vec<FailedPlugin> {
        let noted = self.0.lock();
        let all = noted.values().filter_map(|(failed, since)| {
            let mut reason = failed.error.to_string();
            match failed.file.as_ref().map(|(path, stamp)| (path, *stamp)) {
                Some((path, None)) if path.symlink_metadata().is_err() => return None,
                Some((path, Some(stamp))) => match now(path, stamp) {
                    Now::Same => {}
                    Now::Changed(_) => reason.push_str("; it was written since, which a reload looks at"),
                    Now::Gone => return None,
                },
                _ => {}
            }
            Some(FailedPlugin {
                plugin: failed.what.clone(),
                step: Some(failed.error.step().as_str().to_owned()),
                reason: Some(reason),
                since: Some(rfc3339(*since)),
            })
        });
        all.collect()
    }
}

/// The same is wrong with the same build.
fn is_same(known: &Failed, failed: &Failed) -> bool {
    // A plugin without a file is never the same: what the config requires has to be there.
    let is_something = failed.sha256.is_some() || failed.file.is_some();
    is_something && known.sha256 == failed.sha256 && known.error.to_string() == failed.error.to_string()
}
