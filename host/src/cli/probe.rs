//! `framex-host probe`, which the host runs of its own binary: maps one build, and ends.

use super::command_error::CommandError;
use super::output::{self, keep_from_plugins};

pub(crate) fn run() -> Result<(), CommandError> {
    keep_from_plugins().map_err(|error| CommandError::new(error.to_string()))?;
    framex_host::plugins::run_probe(tell);
    // Whatever threads and exit handlers the build has left.
    framex_host::plugins::end_process(0)
}

fn tell(line: &str) {
    // Without its reader, the process is about to end.
    let _unread = output::print(&format!("{line}\n"));
}
