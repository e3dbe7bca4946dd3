//! Plugin files: found in the directory, staged, and looked at before any of them is mapped.

use std::path::{Path, PathBuf};

use super::descriptor::Description;
use super::object_file::{self, ObjectFile, Unfit};
use super::{PluginError, Staged, Stager};

/// A staged file that holds a plugin.
pub(super) struct Candidate {
    pub(super) staged: Staged,
    pub(super) object: ObjectFile,
    /// The operator's file.
    pub(super) path: PathBuf,
}

impl Candidate {
    /// Stages a file and checks the copy. Blocks on the disk.
    ///
    /// # Errors
    /// As [`PluginError`] says of the steps `stage` and `load`.
    pub(super) fn stage(path: &Path, stager: &Stager) -> Result<Self, PluginError> {
        let staged = stager.stage(path)?;
        let file = staged.file.clone();
        let copy = std::fs::File::open(&staged.path).map_err(|source| PluginError::File {
            file: file.clone(),
            action: "read",
            source,
        })?;
        let cache = object::ReadCache::new(copy);
        match object_file::check(&cache) {
            Ok(object) => Ok(Self { staged, object, path: path.to_owned() }),
            Err(Unfit::NotALibrary(reason)) => Err(PluginError::NotALibrary { file, reason }),
            Err(Unfit::Incompatible(reason)) => Err(PluginError::Incompatible { file, reason }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.object.description.name
    }
}

/// A plugin file that was looked at, without running any of it.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// What it says of itself.
    pub description: Description,
    /// Digest of the file.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
    /// It exports the layouts of the ABI types, as Rust plugins do.
    pub has_layout: bool,
}

/// Looks at a plugin file, without running any of it.
///
/// # Errors
/// As loading it, up to the step before it is mapped.
pub fn inspect(path: &Path, stager: &Stager) -> Result<Inspection, PluginError> {
    let candidate = Candidate::stage(path, stager)?;
    Ok(Inspection {
        description: candidate.object.description,
        sha256: candidate.staged.sha256.clone(),
        bytes: candidate.staged.bytes,
        has_layout: candidate.object.has_layout,
    })
}

/// Whether a file of the plugin directory is taken for a plugin, by its name: the system's ending for libraries,
/// and not hidden.
pub(super) fn is_plugin_file(name: &str) -> bool {
    name.ends_with(std::env::consts::DLL_SUFFIX) && !name.starts_with('.')
}

/// The plugin files of a directory, by name.
///
/// # Errors
/// [`PluginError::Directory`].
pub(super) fn plugin_files(directory: &Path) -> Result<Vec<PathBuf>, PluginError> {
    let refuse = |source| PluginError::Directory { directory: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        if is_plugin_file(&path.file_name().unwrap_or_default().to_string_lossy()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
