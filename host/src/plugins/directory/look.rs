//! Looks at the plugin directory: finds at most one file for each plugin, the faults of the others, and the differences to
//! the builds that serve.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use super::Plugins;
use crate::api::DifferenceView;
use crate::base::{Digest, nearest, rfc3339};
use crate::config::Config;
use crate::plugins::error::PluginError;
use crate::plugins::file::listing::{self, Listing};
use crate::plugins::file::name_of;
use crate::plugins::file::on_disk::{Held, Look, Now};
use crate::plugins::file::trust;
use crate::plugins::file::trust::trust_error::TrustError;
use crate::plugins::registry::entry::Entry;
use crate::plugins::registry::failures::Failed;

/// Maximum number of names of files in one sentence, and of the files with one plugin that are failures of their own.
const NAMES_MAX: usize = 10;

/// The outcome of a look at the directory.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) plugins: BTreeMap<String, Held>,
    pub(crate) failed: Vec<Failed>,
    /// Warnings, which are in the log already.
    pub(crate) warnings: Vec<String>,
    /// The digests of all files that could be read.
    pub(crate) digests: BTreeSet<Digest>,
    /// Files that are not taken for plugins, by name.
    others: Vec<String>,
}

impl Found {
    /// Returns true if a plugin's own file is there and cannot be loaded: then it stands for the build that it held before.
    pub(crate) fn stands_for(&self, plugin: &str, file: &OsStr) -> bool {
        self.failed.iter().any(|failed| match &failed.error {
            PluginError::Ambiguous { plugin: of, .. } => **of == *plugin,
            PluginError::Duplicate { .. } => false,
            _ => failed.path().is_some_and(|path| path.file_name() == Some(file)),
        })
    }

    /// Returns the names of passed-over files that are likely meant as plugins.
    pub(crate) fn passed_over(&self) -> Option<String> {
        let none_is_taken = self.plugins.is_empty() && self.failed.is_empty();
        let meant = |name: &&String| none_is_taken || listing::is_misnamed(name);
        let names: Vec<String> = self.others.iter().filter(meant).cloned().collect();
        (!names.is_empty()).then(|| listed(&names))
    }
}

impl Plugins {
    /// Looks at the files of the directory, and copies the new ones.
    ///
    /// # Errors
    /// [`PluginError::Directory`], and [`PluginError::WritableDirectory`].
    pub(crate) async fn look(&self, config: &Arc<Config>) -> Result<Found, PluginError> {
        let (mut found, required) = (Found::default(), config.load_plugins.as_deref());
        if !config.plugin_dir.exists() && config.has_default_plugin_dir() && required.is_none() {
            let directory = config.plugin_dir.display();
            tracing::warn!(%directory, "there is no plugin directory, so no plugins are loaded");
            return Ok(found);
        }
        let warning = trust::check_directory(&config.trust, &config.plugin_dir)?;
        found.warnings.extend(warning);
        let Listing { plugins: files, others } = listing::list(&config.plugin_dir)?;
        self.files.on_disk.keep(&files);
        found.others = others;
        let is_wanted = |name: &String| required.is_none_or(|required| required.contains(name));
        let (mut held, mut unwanted): (BTreeMap<String, Vec<Held>>, _) = (BTreeMap::new(), Vec::new());
        for path in files {
            let file = name_of(&path);
            let Look { held: look, sha256, stamp, warning } = self.files.look_at(config, path.clone()).await;
            found.warnings.extend(warning);
            found.digests.extend(sha256);
            match look {
                Err(PluginError::Untrusted {
                    why: TrustError::Unlisted { plugin, .. } | TrustError::OtherDigest { plugin, .. },
                    ..
                }) if !is_wanted(&plugin) => tracing::debug!(file, plugin, "not in load_plugins"),
                Err(error) => {
                    found.failed.push(Failed { what: file, error, sha256, file: Some((path, stamp)) });
                }
                Ok(one) if !is_wanted(&one.plugin) => {
                    tracing::debug!(file, plugin = one.plugin, "not in load_plugins");
                    unwanted.push(one.plugin);
                }
                Ok(one) => held.entry(one.plugin.clone()).or_default().push(one),
            }
        }
        for warning in &found.warnings {
            tracing::warn!("{warning}");
        }
        // The libraries that a plugin brings along may lie beside it, and are not plugins that failed.
        let brought: BTreeSet<PathBuf> =
            held.values().flatten().flat_map(|held| held.companions.iter().cloned()).collect();
        found.failed.retain(|failed| failed.path().is_none_or(|path| !brought.contains(path)));
        for (plugin, files) in held {
            self.choose(plugin, files, &mut found);
        }
        for plugin in required.into_iter().flatten().filter(|plugin| !found.plugins.contains_key(*plugin)) {
            let directory = config.plugin_dir.clone();
            let near = nearest(plugin, unwanted.iter().map(String::as_str), 1).join("`, `");
            let error = PluginError::Missing { plugin: plugin.clone(), directory, near };
            found.failed.push(Failed::of_plugin(plugin, error, None));
        }
        Ok(found)
    }

    /// Takes one of the files that hold a plugin, and notes an error for each of the others, or for the first of many.
    fn choose(&self, plugin: String, mut files: Vec<Held>, found: &mut Found) {
        let known = self.lifecycle.registry.find(&plugin).map(|entry| {
            let state = entry.state();
            (state.path.clone(), state.file_digest)
        });
        let (file, file_digest) = known.unwrap_or_default();
        let file = file.as_deref().and_then(|path| path.file_name());
        let Some(chosen) = chosen(&files, file, file_digest) else {
            let all: Vec<String> = files.iter().map(|held| format!("`{}`", held.file())).collect();
            // Each names the others.
            for (at, held) in files.into_iter().enumerate().take(NAMES_MAX) {
                let others = listed(&[&all[..at], &all[at + 1..]].concat());
                let error =
                    PluginError::Ambiguous { file: held.file(), plugin: plugin.as_str().into(), others };
                found.failed.push(held.refused(error));
            }
            return;
        };
        let chosen = files.swap_remove(chosen);
        let unnamed = files.len().saturating_sub(NAMES_MAX);
        for (at, held) in files.into_iter().enumerate().take(NAMES_MAX) {
            let (plugin, other) = (plugin.as_str().into(), chosen.file());
            let more = if at + 1 == NAMES_MAX { unnamed } else { 0 };
            let error = PluginError::Duplicate { file: held.file(), more, plugin, other };
            found.failed.push(held.refused(error));
        }
        found.plugins.insert(plugin, chosen);
    }

    /// Returns the difference between the file of a published plugin and the build that serves, if there is one.
    pub(super) fn difference(&self, name: &str, entry: &Entry) -> Option<DifferenceView> {
        let (path, serves, file_digest, published_at) = {
            let state = entry.state();
            let staged = &state.published.as_ref()?.generation.staged;
            (state.path.clone()?, staged.sha256, state.file_digest, state.shown.as_ref().map(|(_, at)| *at))
        };
        let (sha256, now) = self.files.on_disk.now(&path);
        let of = |reason: &str, since: Option<_>| {
            Some(DifferenceView { reason: reason.to_owned(), since: since.map(rfc3339) })
        };
        let is_gone = now == Now::Gone || sha256.is_none() && path.symlink_metadata().is_err();
        let failures = &self.lifecycle.failures;
        if let Now::Changed(at) = now {
            of("its file was written since it was looked at, and was not loaded", Some(at))
        } else if is_gone {
            of("its file is gone", None)
        } else if sha256 == Some(serves) {
            None
        } else if let Some((reason, since)) = failures.of(name).or_else(|| failures.of(&name_of(&path))) {
            of(&reason, Some(since))
        } else if let Some(fault) = self.files.on_disk.fault(&path) {
            of(&fault, None)
        } else if file_digest == sha256 {
            of("another build was brought back, and its file was not loaded since", published_at)
        } else {
            of("its file holds another build, which was not loaded", published_at)
        }
    }
}

/// Returns the names for a sentence: the first ones, and how many there are besides.
fn listed(names: &[String]) -> String {
    let (first, more) = names.split_at(names.len().min(NAMES_MAX));
    let first = first.join(", ");
    if more.is_empty() { first } else { format!("{first} and {} more", more.len()) }
}

/// Chooses among the files that hold a plugin by the record of what served: the file of the same name, or else the only
/// file with the same content. Without a record of either, none is guessed.
fn chosen(files: &[Held], file: Option<&OsStr>, file_digest: Option<Digest>) -> Option<usize> {
    if files.len() == 1 {
        return Some(0);
    }
    let of_name = files.iter().position(|held| held.path.file_name() == file && file.is_some());
    let mut same = (0..files.len()).filter(|at| file_digest == Some(files[*at].sha256));
    let of_digest = same.next().filter(|_| same.next().is_none());
    of_name.or(of_digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_on_record_counts_and_none_is_guessed() {
        let held = |(file, sha256): &(&str, u8)| Held {
            path: PathBuf::from("/plugins").join(file),
            plugin: "x".to_owned(),
            sha256: Digest::from([*sha256; 32]),
            companions: Vec::new(),
            candidate: None,
        };
        let check =
            |files: &[(&str, u8)], file: Option<&str>, file_digest: Option<u8>, expected: Option<usize>| {
                let files: Vec<Held> = files.iter().map(held).collect();
                assert_eq!(
                    chosen(&files, file.map(OsStr::new), file_digest.map(|byte| Digest::from([byte; 32]))),
                    expected
                );
            };
        check(&[("a.so", 1)], None, None, Some(0));
        check(&[("a.so", 1), ("b.so", 2)], None, None, None);
        check(&[("a.so", 1), ("b.so", 2)], Some("b.so"), Some(1), Some(1));
        check(&[("a.so", 1), ("b.so", 2)], Some("c.so"), Some(1), Some(0));
        check(&[("a.so", 1), ("b.so", 1)], Some("c.so"), Some(1), None);
        check(&[("a.so", 1), ("b.so", 2)], Some("c.so"), Some(3), None);
        check(&[("a.so", 1), ("b.so", 1)], None, None, None);
    }
}
