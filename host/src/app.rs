//! The whole daemon: built from a config, run until it is told to stop.
//!
//! Layer: the highest of the library. It wires the others together and owns every task.

mod active;
mod clock;
mod core_dumps;
mod daemon;
mod discovery;
mod error;
mod file_watcher;
mod keys;
mod listeners;
mod parts;
mod plugin_setup;
mod predecessors;
mod reloader;
mod shutdown;
mod signals;
mod sockets;
mod startup;
mod state_dir;
mod supervisor;
mod watched_paths;

pub use core_dumps::refuse_core_dumps;
pub use daemon::{Daemon, Exit};
pub use error::AppError;
pub use plugin_setup::start_plugins;
pub use reloader::Reread;
pub use signals::exit_code_of;
pub use sockets::Sockets;
pub use state_dir::StateDir;
