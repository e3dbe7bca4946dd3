//! The files of the plugin directory, by name alone.

use std::path::{Path, PathBuf};

use super::name_of;
use crate::plugins::error::PluginError;

/// Returns true if the name of a file is that of a plugin: it has the system's ending for libraries and is not hidden.
pub(crate) fn is_plugin_file(name: &str) -> bool {
    name.ends_with(std::env::consts::DLL_SUFFIX) && !name.starts_with('.')
}

/// Returns true if a name that is not a plugin's looks like one with another ending.
pub(crate) fn is_misnamed(name: &str) -> bool {
    let suffix = std::env::consts::DLL_SUFFIX;
    !name.starts_with('.')
        && !name.ends_with(".minisig")
        && ([".dll", ".dylib", ".so"].iter().any(|ending| name.ends_with(ending))
            || name.contains(&format!("{suffix}.")))
}

/// The files of a directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Paths of the files that are taken for plugins, in order.
    pub(crate) plugins: Vec<PathBuf>,
    /// The names of the others, but for hidden ones.
    pub(crate) others: Vec<String>,
}

/// Lists the files of a directory. Blocks on the disk.
///
/// # Errors
/// [`PluginError::Directory`].
pub(crate) fn list(directory: &Path) -> Result<Listing, PluginError> {
    let refuse = |error: std::io::Error| {
        let (directory, cause) = (directory.to_owned(), error.into());
        PluginError::Directory { directory, cause }
    };
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(directory).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        let name = name_of(&path);
        if is_plugin_file(&name) {
            listing.plugins.push(path);
        } else if !name.starts_with('.') && !path.is_dir() {
            listing.others.push(name);
        }
    }
    listing.plugins.sort();
    listing.others.sort();
    Ok(listing)
}
