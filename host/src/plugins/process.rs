//! What is mapped into this process, and the system's loader.

pub(super) mod brought;
pub(super) mod linker;
pub(super) mod maps;

/// The loader's words where the block for thread-locals is full.
pub(crate) const STATIC_TLS: &str = "static TLS block";
