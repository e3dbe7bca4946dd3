//! The paths that a config has watched: the plugin directory, the config file, the files of secrets, and every link on
//! the way to one.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::files::Links;

/// The watched paths; empty if nothing is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WatchedPaths {
    /// The directory of plugins: every file in it that could be a plugin.
    plugins: Option<PathBuf>,
    /// Single files.
    files: BTreeSet<PathBuf>,
}

/// The resolved paths to all that is watched. None of them leads over a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ResolvedPaths {
    /// The directory of plugins.
    plugins: Option<PathBuf>,
    /// The files, and every link on the way to one: mounting a volume replaces such a link.
    entries: BTreeSet<PathBuf>,
}

impl WatchedPaths {
    pub(super) fn of(config: &Config) -> Self {
        if !config.reload.watch {
            return Self::default();
        }
        Self { plugins: Some(config.plugin_dir.clone()), files: config.files().into_iter().collect() }
    }

    /// Resolves all paths.
    pub(super) fn ways(&self) -> ResolvedPaths {
        let mut ways = ResolvedPaths::default();
        let mut go = |path: &Path| {
            let Links { links, end } = Links::of(path);
            ways.entries.extend(links);
            end
        };
        let mut ends: Vec<PathBuf> = self.files.iter().map(|file| go(file)).collect();
        let plugins = self.plugins.as_deref().map(&mut go);
        let files = plugins.as_ref().and_then(|plugins| std::fs::read_dir(plugins).ok());
        let files = files.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        // A plain file is found by its name, one behind a link by all of its way.
        ends.extend(files.filter(|path| could_be_plugin(path) && path.is_symlink()).map(|path| go(&path)));
        ends.extend(plugins.clone());
        ways.entries.extend(ends);
        ways.plugins = plugins;
        ways
    }
}

impl ResolvedPaths {
    /// Returns the existing folders to watch, each with its identity. A file is watched by its folder, since editors
    /// and tools replace it.
    pub(super) fn folders(&self) -> BTreeMap<PathBuf, (u64, u64)> {
        let parents = self.entries.iter().filter_map(|entry| entry.parent().map(Path::to_owned));
        let folders = parents.chain(self.plugins.clone());
        let there = folders.filter_map(|folder| {
            let found = std::fs::metadata(&folder).ok().filter(std::fs::Metadata::is_dir)?;
            Some((folder, (found.dev(), found.ino())))
        });
        there.collect()
    }

    /// Returns true if a change of `path` matters.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        let is_plugin = self.plugins.as_deref() == path.parent() && could_be_plugin(path);
        is_plugin || self.entries.contains(path)
    }
}

fn could_be_plugin(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A library and its signature cannot be replaced in one step: the later change counts.
    let library = name.strip_suffix(".minisig").unwrap_or(&name);
    library.ends_with(std::env::consts::DLL_SUFFIX) && !library.starts_with('.')
}
