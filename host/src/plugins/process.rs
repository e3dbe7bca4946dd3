//! What is mapped into this process.

pub(super) mod maps;
