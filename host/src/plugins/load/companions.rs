//! Mapping the libraries that a plugin brings along, before the plugin itself.

use crate::plugins::error::PluginError;
use crate::plugins::file::companions::Companion;
use crate::plugins::process::brought::{self, Brought};

/// Maps the libraries that a plugin brings along; their constructors run. One that is mapped already is left as it is.
///
/// # Errors
/// [`PluginError::Load`] and [`PluginError::OldCompanion`]; some of them may then stay mapped.
pub(crate) fn map(companions: Vec<Companion>, plugin: &str, file: &str) -> Result<(), PluginError> {
    for Companion { soname, staged, path } in companions {
        if let Some(mapped) = brought::find(&soname) {
            if mapped.sha256 == staged.sha256 {
                continue;
            }
            let folder = path.parent().unwrap_or(&path).to_owned();
            return Err(PluginError::OldCompanion {
                file: file.to_owned(),
                soname,
                folder,
                plugin: mapped.plugin,
            });
        }
        let refuse = |reason: String| PluginError::Load {
            file: file.to_owned(),
            reason: format!("its library `{soname}`: {reason}"),
        };
        let folder = staged.folder.open().map_err(|fault| refuse(fault.to_string()))?;
        let library = Brought { sha256: staged.sha256, plugin: plugin.to_owned() };
        brought::map(soname.clone(), &folder.entry(&staged.copy), library).map_err(refuse)?;
    }
    Ok(())
}
