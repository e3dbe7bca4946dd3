//! Plugin files: found in the directory, staged, and looked at before any of them is mapped.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use super::companions::{self, Companion};
use super::name_of;
use super::object_file::{self, ObjectFile};
use super::stage::{Staged, Stager, open_original};
use super::trust;
use crate::config::Trust;
use crate::plugins::error::PluginError;

/// A staged file that holds a plugin.
pub(crate) struct Candidate {
    pub(crate) staged: Staged,
    pub(crate) object: ObjectFile,
    /// The libraries that the plugin brings along.
    pub(crate) companions: Vec<Companion>,
    /// The operator's file.
    pub(crate) path: PathBuf,
    /// The metadata of that file when it was copied, from its descriptor.
    pub(crate) opened: Metadata,
    /// A setting that is allowed but likely not intended.
    pub(crate) warning: Option<String>,
}

impl Candidate {
    /// Stages a file and checks the copy, first of all whether it is trusted. Blocks on the disk.
    ///
    /// # Errors
    /// As [`PluginError`] says of the steps `stage` and `load`.
    pub(crate) fn stage(path: &Path, stager: &Stager, trust: &Trust) -> Result<Self, PluginError> {
        let (_, source, opened) = open_original(path)?;
        Self::stage_opened(source, opened, (path, path), stager, trust)
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
        let folder = stager.folder.open().map_err(|fault| refuse(fault.into()))?;
        let source = folder.read(copy).map_err(|fault| refuse(fault.into()))?;
        let opened = source.metadata().map_err(refuse)?;
        Self::stage_opened(source, opened, (&folder.entry(copy), original), stager, trust)
    }

    pub(crate) fn stage_opened(
        mut source: File,
        opened: Metadata,
        (path, original): (&Path, &Path),
        stager: &Stager,
        trust: &Trust,
    ) -> Result<Self, PluginError> {
        let file = name_of(path);
        let warning = trust::check_file(trust, &file, &opened)?;
        let adopted = stager.adopt(&mut source, &file)?;
        let staged = adopted.map_or_else(|| stager.stage(source, &file), Ok)?;
        trust::check_signature(trust, path, &staged)?;
        let copy = staged.open().map_err(PluginError::file(&file, "read"))?;
        let cache = object::ReadCache::new(copy);
        let object =
            object_file::check(&cache).map_err(|reason| PluginError::Unfit { file: file.clone(), reason })?;
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::plugins::file::stage::tests::stager;
    use crate::plugins::file::trust::signature::tests::{KEY, SIGNATURE, SIGNED};
    use crate::plugins::file::trust::tests::keys;

    /// Returns the reason for a refusal. A trusted file would be refused as not being a library.
    fn refused(file: &Path, stager: &Stager, trust: &Trust) -> String {
        Candidate::stage(file, stager, trust).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_signature_is_checked_before_the_file_is_looked_into() {
        let scratch = tempfile::tempdir().unwrap();
        let stager = stager(scratch.path());
        let file = scratch.path().join("libx.so");
        fs::write(&file, SIGNED).unwrap();
        assert_eq!(
            refused(&file, &stager, &keys(&[KEY])),
            "plugin file `libx.so` has no signature: sign it with `minisign -S -m libx.so` and put libx.so.minisig \
             beside it, or take `keys` out of [trust]"
        );
        fs::write(scratch.path().join("libx.so.minisig"), SIGNATURE).unwrap();
        let no_library = "plugin file `libx.so` is not a library: its first bytes are of no known format";
        assert_eq!(refused(&file, &stager, &keys(&[KEY])), no_library);
        assert_eq!(refused(&file, &stager, &Trust::default()), no_library);
        fs::write(&file, b"other").unwrap();
        let changed = refused(&file, &stager, &keys(&[KEY]));
        assert!(changed.contains("is not the file that its signature was made for"), "{changed}");
        let left = fs::read_dir(scratch.path().join("staged")).unwrap().count();
        assert_eq!(left, 0, "what is refused leaves nothing");
    }

    #[test]
    fn a_link_is_refused_for_the_mode_of_its_target() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("libx.so");
        fs::write(&file, SIGNED).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o777)).unwrap();
        let link = scratch.path().join("libl.so");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let followed = refused(&link, &stager(&scratch.path().join("s")), &keys(&[KEY]));
        assert!(followed.contains("can be changed by every user"), "what a link leads to counts: {followed}");
    }
}
