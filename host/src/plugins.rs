//! Plugins: from a file to functions in the table, and back.
//!
//! `staged -> loaded -> started -> published -> draining -> retired`, or `failed` with the reason.
//!
//! Layer: above `functions`. It alone sees ABI types; nothing of them leaves it. It must never run plugin code
//! on a worker thread other than calls, nor touch the operator's file after it was staged.

mod directory;
mod error;
mod file;
mod lifecycle;
mod load;
#[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), path = "plugins/native_elsewhere.rs")]
mod native;
mod probe;
mod process;
mod registry;
mod run;
mod services;
mod settings;
mod step;

pub use directory::Plugins;
pub use directory::reload::{Asker, Prepared};
pub use directory::startup::LoadReport;
pub use error::PluginError;
pub use file::descriptor::Description;
pub use file::inspect::{Inspection, inspect};
pub use file::stage::{Staged, Stager};
pub use file::trust::signature::SignatureInfo;
pub use file::trust::trust_error::TrustError;
pub use process::TellExit;
pub use registry::failures::Failed;
pub use run::watchdog::Watchdog;
pub(crate) use run::watchdog::{held as functions_that_held_workers, workers_held};
pub use services::Services;
pub use step::LifecycleStep;

/// Makes this thread a worker: the first thing that every thread of the host's runtime does.
pub fn enter_worker() {
    native::enter_worker();
    run::watchdog::enter_worker();
}

/// Makes the end of this process the host's alone: where code of a plugin calls `exit`, `tell` reports it, and the exit
/// code is not 0.
pub fn own_exit(tell: TellExit) {
    native::own_exit(tell);
}

/// Maps the build of the request on the standard input, in the process of a probe; `tell` writes one line to the host.
pub fn run_probe(tell: fn(&str)) {
    probe::run(tell);
}

/// Ends the process at once, without exit handlers of plugins, once the log is written.
pub fn end_process(code: u8) -> ! {
    crate::base::flush_log();
    native::end_process(code)
}

/// Checks the bytes of a plugin file, as before it is mapped; for fuzzing.
///
/// # Errors
/// What is wrong with them, in words.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn check_plugin_file(bytes: &[u8]) -> Result<Description, String> {
    file::object_file::check(bytes).map(|file| file.description)
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
