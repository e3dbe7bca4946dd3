//! Plugins: from a file to functions in the table, and back.
//!
//! `staged -> loaded -> started -> published -> draining -> retired`, or `failed` with the reason.
//!
//! Layer: above `functions`. It alone sees ABI types; nothing of them leaves it. It must never run plugin code
//! on a worker thread other than calls, nor touch the operator's file after it was staged.

mod abi;
mod call;
mod descriptor;
mod directory;
mod error;
mod generation;
mod host_table;
mod library;
mod object_file;
mod stage;
mod waker;

pub use abi::Services;
pub use descriptor::Description;
pub use directory::{LoadReport, PluginStatus, Plugins, inspect};
pub use error::PluginError;
pub use stage::{Staged, Stager};
