//! The addresses at which plugin libraries are mapped.

use std::ops::Range;

use crate::base::RwLock;

/// The mapped plugin libraries.
static LIBRARIES: RwLock<Vec<Range<usize>>> = RwLock::new(Vec::new());

/// Notes where a plugin library is mapped, before any call of it.
pub(in crate::plugins) fn watch(library: Range<usize>) {
    LIBRARIES.write().push(library);
}

/// Returns true if an address lies in a plugin library.
pub(super) fn is_watched(address: usize) -> bool {
    let libraries = LIBRARIES.read();
    libraries.iter().any(|known| known.contains(&address))
}

/// Forgets a library that is no longer mapped.
pub(super) fn forget(library: &Range<usize>) {
    LIBRARIES.write().retain(|known| known != library);
}
