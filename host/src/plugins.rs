//! Plugins: from a file to functions in the table, and back.
//!
//! `staged -> loaded -> started -> published -> draining -> retired`, or `failed` with the reason.
//!
//! Layer: above `functions`. It alone sees ABI types; nothing of them leaves it. It must never run plugin code
//! on a worker thread other than calls, nor touch the operator's file after it was staged.

mod abi;
mod call;
mod candidate;
mod change;
mod companions;
mod compatibility;
mod descriptor;
mod directory;
mod entry;
mod error;
mod failures;
mod generation;
mod host_table;
mod library;
mod look;
mod mapper;
mod maps;
#[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), path = "plugins/native_elsewhere.rs")]
mod native;
mod nested_call;
mod object_file;
mod on_disk;
mod on_thread;
mod publish;
mod record;
mod registry;
mod report;
mod retire;
mod stage;
mod start;
mod tries;
mod trust;
mod unmap;
mod waker;
mod watchdog;

pub use abi::Services;
pub use candidate::{Inspection, inspect};
pub use descriptor::Description;
pub use directory::{Asker, Prepared};
pub use error::PluginError;
pub use failures::Failure;
pub use native::enter_worker;
pub use registry::{PluginConfig, Plugins, Settings};
pub use report::{Change, Difference, LastFailure, LoadReport, PluginStatus, Progress, Step, Zombie};
pub use stage::{Staged, Stager};
pub use trust::{Distrust, SignatureInfo};
pub use watchdog::Watchdog;
pub(crate) use watchdog::{held as functions_that_held_workers, workers_held};

use native::touch_worker;

/// Checks the bytes of a plugin file, as before it is mapped; for fuzzing.
///
/// # Errors
/// What is wrong with them, in words.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn check_plugin_file(bytes: &[u8]) -> Result<Description, String> {
    object_file::check(bytes).map(|file| file.description).map_err(|error| error.to_string())
}

/// Reads the descriptor of a plugin; for fuzzing.
///
/// # Errors
/// What is wrong with it, in words.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn read_descriptor(bytes: &[u8]) -> Result<Description, String> {
    Description::read(bytes)
}
