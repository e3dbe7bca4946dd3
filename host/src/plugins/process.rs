//! The mappings of this process, and the system's loader.

pub(super) mod brought;
pub(super) mod changes;
pub(super) mod linker;
pub(super) mod maps;

use crate::base::FunctionName;

/// Part of the loader's message for a full block of thread-locals.
pub(crate) const STATIC_TLS: &str = "static TLS block";

/// Reports that code of a plugin ends the process: the function that its thread runs, the call as in C, the exit code.
pub type TellExit = fn(Option<FunctionName>, &str, i32);
