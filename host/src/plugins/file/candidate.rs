//! Plugin files: found in the directory, staged, and looked at before any of them is mapped.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use super::companions::{self, Companion};
use super::descriptor::Description;
use super::object_file::{self, ObjectFile, Unfit};
use super::stage::{Staged, Stager};
use super::trust::{self, SignatureInfo, Verdict};
use crate::config::Trust;
use crate::files::open_regular;
use crate::plugins::error::PluginError;

/// A staged file that holds a plugin.
pub(crate) struct Candidate {
    pub(crate) staged: Staged,
    pub(crate) object: ObjectFile,
    /// What the plugin brings along.
    pub(crate) companions: Vec<Companion>,
    /// The operator's file.
    pub(crate) path: PathBuf,
    /// The metadata of that file when it was copied, from its descriptor.
    pub(crate) opened: Metadata,
    /// What is allowed and still likely not what the operator wants.
    pub(crate) warning: Option<String>,
}

impl Candidate {
    /// Stages a file and checks the copy, first of all whether it is trusted. Blocks on the disk.
    ///
    /// # Errors
    /// As [`PluginError`] says of the steps `stage` and `load`.
    pub(crate) fn stage(path: &Path, stager: &Stager, trust: &Trust) -> Result<Self, PluginError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match open_regular(path).map_err(PluginError::file(&file, "opened"))? {
            Some((source, opened)) => Self::stage_opened(source, opened, (path, path), stager, trust),
            None => Err(PluginError::not_a_file(&file)),
        }
    }

    /// Stages a kept copy once more, by its name in the folder of copies; `original` is the operator's file.
    ///
    /// # Errors
    /// As [`Candidate::stage`].
    pub(crate) fn stage_again(
        copy: &str,
        original: &Path,
        stager: &Stager,
        trust: &Trust,
    ) -> Result<Self, PluginError> {
        let refuse = PluginError::file(copy, "opened");
        let folder = stager.folder().open().map_err(|fault| refuse(fault.into()))?;
        let source = folder.read(copy).map_err(|fault| refuse(fault.into()))?;
        let opened = source.metadata().map_err(refuse)?;
        Self::stage_opened(source, opened, (&folder.entry(copy), original), stager, trust)
    }

    pub(crate) fn stage_opened(
        source: File,
        opened: Metadata,
        (path, original): (&Path, &Path),
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
            Unfit::NotALibrary(reason) => PluginError::NotALibrary { file: file.clone(), reason },
            Unfit::Incompatible(reason) => PluginError::Incompatible { file: file.clone(), reason },
        })?;
        let name = &object.description.name;
        trust::check_digest(trust, name, &staged)?;
        let companions = companions::stage((name, &file), original, &object.needs, stager, trust)?;
        Ok(Self { staged, object, companions, path: path.to_owned(), opened, warning })
    }

    /// The operator's files of the libraries that it brings along.
    pub(crate) fn companion_files(&self) -> Vec<PathBuf> {
        self.companions.iter().map(|companion| companion.path.clone()).collect()
    }

    /// Checks that the system lets the copy be mapped where it lies.
    ///
    /// # Errors
    /// [`PluginError::NoExec`].
    pub(crate) fn check_mount(&self) -> Result<(), PluginError> {
        // What cannot be looked at is found out when it is mapped.
        let Ok(folder) = self.staged.folder.open() else { return Ok(()) };
        let Some(mount) = folder.noexec_mount() else { return Ok(()) };
        let (plugin, directory) = (self.name().to_owned(), folder.path().to_owned());
        Err(PluginError::NoExec { plugin, directory, mount })
    }

    pub(crate) fn name(&self) -> &str {
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
pub(crate) fn is_plugin_file(name: &str) -> bool {
    name.ends_with(std::env::consts::DLL_SUFFIX) && !name.starts_with('.')
}

/// Whether a file that is not taken for a plugin looks like one under another name.
pub(crate) fn is_misnamed(name: &str) -> bool {
    let suffix = std::env::consts::DLL_SUFFIX;
    !name.starts_with('.')
        && !name.ends_with(".minisig")
        && ([".dll", ".dylib", ".so"].iter().any(|ending| name.ends_with(ending))
            || name.contains(&format!("{suffix}.")))
}

/// The files of a directory.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Those that are taken for plugins, by name.
    pub(crate) plugins: Vec<PathBuf>,
    /// The names of the others, but for hidden ones.
    pub(crate) others: Vec<String>,
}

/// Lists the files of a directory. Blocks on the disk.
///
/// # Errors
/// [`PluginError::Directory`].
pub(crate) fn files(directory: &Path) -> Result<Files, PluginError> {
    let refuse = |source: std::io::Error| {
        let (directory, source) = (directory.to_owned(), source.into());
        PluginError::Directory { directory, source }
    };
    let mut files = Files::default();
    for entry in std::fs::read_dir(directory).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_plugin_file(&name) {
            files.plugins.push(path);
        } else if !name.starts_with('.') && !path.is_dir() {
            files.others.push(name);
        }
    }
    files.plugins.sort();
    files.others.sort();
    Ok(files)
}
