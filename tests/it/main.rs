//! Whole-daemon tests: real processes, real plugin files, real sockets.

mod calls;
mod plugin_files;
mod start_faults;
