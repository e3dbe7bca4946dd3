//! The mappings of this process, and the system's loader.

pub(super) mod brought;
pub(super) mod changes;
pub(super) mod linker;
pub(super) mod maps;

/// Part of the loader's message for a full block of thread-locals.
pub(crate) const STATIC_TLS: &str = "static TLS block";
