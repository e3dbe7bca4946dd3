//! Libraries that a plugin brings along, as the run path of its file says (`$ORIGIN`, `/opt/...`).
//!
//! The plugin is mapped from a copy elsewhere, so they are found from where its file lies, copied like it, and mapped
//! before it: the system's loader takes a library that is mapped already by its SONAME. For the same reason a second
//! build of the same SONAME would never be used, so it is refused. They stay mapped until the host ends.

use std::path::{Path, PathBuf};

use super::object_file::{self, LibraryNeeds};
use super::stage::{Staged, Stager, open_original};
use super::trust;
use crate::config::Trust;
use crate::plugins::error::PluginError;
use crate::plugins::process::linker;

/// Most libraries that one plugin brings.
const COMPANIONS_MAX: usize = 64;

/// A library that a plugin brings along.
pub(crate) struct Companion {
    /// The operator's file.
    pub(crate) path: PathBuf,
    pub(crate) soname: String,
    pub(crate) staged: Staged,
}

/// The search for the libraries of one plugin.
struct Search<'a> {
    plugin: &'a str,
    file: &'a str,
    stager: &'a Stager,
    trust: &'a Trust,
    found: Vec<Companion>,
}

/// Finds and copies the libraries that the plugin in `file` needs besides the system's; each comes after the libraries
/// that it needs itself. `original` is the path of the plugin's file. Blocks on the disk.
///
/// # Errors
/// As staging a plugin file does, and [`PluginError::Load`] for what the loader could not use.
pub(crate) fn stage(
    (plugin, file): (&str, &str),
    original: &Path,
    needs: &LibraryNeeds,
    stager: &Stager,
    trust: &Trust,
) -> Result<Vec<Companion>, PluginError> {
    let mut search = Search { plugin, file, stager, trust, found: Vec::new() };
    search.add(original, needs, &[], 0)?;
    Ok(search.found)
}

impl Search<'_> {
    fn add(
        &mut self,
        original: &Path,
        needs: &LibraryNeeds,
        inherited: &[PathBuf],
        depth: usize,
    ) -> Result<(), PluginError> {
        let mut folders = needs.folders(original.parent().unwrap_or(Path::new("/")));
        folders.extend_from_slice(inherited);
        for soname in &needs.libraries {
            let is_found = self.found.iter().any(|companion| companion.soname == *soname);
            let candidates = folders.iter().map(|folder| folder.join(soname));
            let there = candidates.into_iter().find(|path| path.is_file());
            let Some(path) = there.filter(|_| !is_found && !linker::is_of_the_system(soname)) else {
                continue;
            };
            if self.found.len() >= COMPANIONS_MAX || depth >= COMPANIONS_MAX {
                return Err(self.refuse(format!("it brings more than {COMPANIONS_MAX} libraries")));
            }
            let (staged, of_library) = self.copy(&path)?;
            if of_library.soname.as_ref() != Some(soname) {
                return Err(self.refuse(format!(
                    "it needs `{soname}`, and {} does not have this SONAME: build that with -Wl,-soname,{soname}",
                    path.display()
                )));
            }
            self.add(&path, &of_library, &folders, depth + 1)?;
            self.found.push(Companion { path, soname: soname.clone(), staged });
        }
        Ok(())
    }

    fn copy(&self, path: &Path) -> Result<(Staged, LibraryNeeds), PluginError> {
        let (file, source, metadata) = open_original(path)?;
        // As of any plugin file: without [trust], `check` warns of the folder.
        let _warning = trust::check_file(self.trust, &file, &metadata)?;
        let staged = self.stager.stage(source, &file)?;
        trust::check_signature(self.trust, path, &staged)?;
        trust::check_digest(self.trust, self.plugin, &staged)?;
        let copy = staged.open().map_err(PluginError::file(&file, "read"))?;
        let needs = object_file::needs(&object::ReadCache::new(copy));
        let needs = needs.map_err(|reason| PluginError::Unfit { file, reason })?;
        Ok((staged, needs))
    }

    fn refuse(&self, reason: String) -> PluginError {
        PluginError::Load { file: self.file.to_owned(), reason }
    }
}
