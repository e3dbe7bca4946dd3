//! What is mapped into this process, and the system's loader.

pub(super) mod brought;
pub(super) mod linker;
pub(super) mod maps;
