//! Plugin files: found in the directory, staged, and looked at before any of them is mapped.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use super::descriptor::Description;
use super::object_file::{self, ObjectFile, Unfit};
use super::trust::{self, Verdict};
use super::{PluginError, SignatureInfo, Staged, Stager};
use crate::config::Trust;
use crate::files::open_regular;

/// A staged file that holds a plugin.
pub(super) struct Candidate {
    pub(super) staged: Staged,
    pub(super) object: ObjectFile,
    /// The operator's file.
    pub(super) path: PathBuf,
    /// The metadata of that file when it was copied, from its descriptor.
    pub(super) opened: Metadata,
    /// What is allowed and still likely not what the operator wants.
    pub(super) warning: Option<String>,
}

impl Candidate {
    /// Stages a file and checks the copy, first of all whether it is trusted. Blocks on the disk.
    ///
    /// # Errors
    /// As [`PluginError`] says of the steps `stage` and `load`.
    pub(super) fn stage(path: &Path, stager: &Stager, trust: &Trust) -> Result<Self, PluginError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match open_regular(path).map_err(PluginError::file(&file, "opened"))? {
            Some((source, opened)) => Self::stage_opened(source, opened, path, stager, trust),
            None => Err(PluginError::NotALibrary { file, reason: "is not a regular file".to_owned() }),
        }
    }

    /// Stages a kept copy once more, by its name in the folder of copies.
    ///
    /// # Errors
    /// As [`Candidate::stage`].
    pub(super) fn stage_again(copy: &str, stager: &Stager, trust: &Trust) -> Result<Self, PluginError> {
        let refuse = PluginError::file(copy, "opened");
        let folder = stager.folder().open().map_err(|fault| refuse(fault.into()))?;
        let source = folder.read(copy).map_err(|fault| refuse(fault.into()))?;
        let opened = source.metadata().map_err(refuse)?;
        Self::stage_opened(source, opened, &folder.entry(copy), stager, trust)
    }

    fn stage_opened(
        source: File,
        opened: Metadata,
        path: &Path,
        stager: &Stager,
        trust: &Trust,
    ) -> Result<Self, PluginError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let warning = trust::check_file(trust, &file, &opened)?;
        let staged = stager.stage(source, &file)?;
        trust::check_signature(trust, path, &staged)?;
        let copy = staged.open().map_err(PluginError::file(&file, "read"))?;
        let cache = object::ReadCache::new(copy);
        let object = object_file::check(&cache).map_err(|unfit| match unfit {
            Unfit::NotALibrary(reason) => PluginError::NotALibrary { file, reason },
            Unfit::Incompatible(reason) => PluginError::Incompatible { file, reason },
        })?;
        trust::check_digest(trust, &object.description.name, &staged)?;
        Ok(Self { staged, object, path: path.to_owned(), opened, warning })
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
    /// What its signature says, if one lies beside it; an error is a sentence.
    pub signature: Result<Option<SignatureInfo>, String>,
    /// Whether a host with this `[trust]` would take it, and why not; nothing where there is no such table.
    pub trusted: Option<Result<(), String>>,
}

/// Looks at a plugin file, without running any of it.
///
/// # Errors
/// As loading it, up to the step before it is mapped, but for trust.
pub fn inspect(path: &Path, stager: &Stager, trust: &Trust) -> Result<Inspection, PluginError> {
    let candidate = Candidate::stage(path, stager, &Trust::default())?;
    let Verdict { signature, trusted } = trust::judge(trust, &candidate);
    Ok(Inspection {
        description: candidate.object.description,
        sha256: candidate.staged.sha256.clone(),
        bytes: candidate.staged.bytes,
        has_layout: candidate.object.has_layout,
        signature,
        trusted: trusted.map(|trusted| trusted.map_err(|error| error.to_string())),
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
