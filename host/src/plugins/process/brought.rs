//! The libraries that plugins brought along and that are mapped. They stay mapped until the host ends.

use std::collections::BTreeMap;
use std::path::Path;

use super::linker;
use crate::base::{Digest, Mutex};

/// A library that a plugin brought along.
#[derive(Debug, Clone)]
pub(crate) struct Brought {
    pub(crate) sha256: Digest,
    /// The plugin that brought it.
    pub(crate) plugin: String,
}

/// The libraries of all plugins, by SONAME.
static BROUGHT: Mutex<BTreeMap<String, Brought>> = Mutex::new(BTreeMap::new());

/// Returns the library of this SONAME, if a plugin brought one.
pub(crate) fn find(soname: &str) -> Option<Brought> {
    BROUGHT.lock().get(soname).cloned()
}

/// Returns true for a library that is mapped, and that no plugin brought.
pub(crate) fn is_of_the_system(soname: &str) -> bool {
    find(soname).is_none() && linker::is_mapped(soname)
}

/// Maps the copy of a library. Its constructors run. The caller is on the thread that maps.
///
/// # Errors
/// The loader's words.
pub(crate) fn map(soname: String, copy: &Path, library: Brought) -> Result<(), String> {
    // Without the lock, as constructors may hang. The thread that maps does one thing at a time.
    linker::map_for_good(copy)?;
    BROUGHT.lock().insert(soname, library);
    Ok(())
}
