//! Stands in for `native` on systems that the host does not know: retired libraries stay mapped.

use std::ops::Range;

use super::process::ProcessChanges;

/// Makes this thread a worker: the first thing that every thread of the host's runtime does.
pub(super) fn enter_worker() {}

pub(super) fn own_exit(_: super::process::TellExit) {}

/// Ends the process, without exit handlers.
pub(super) fn end_process(code: u8) -> ! {
    signal_hook::low_level::exit(code.into())
}

pub(super) fn enter_mapper() {}

pub(super) fn touch_worker() {}

pub(super) fn prepare() {}

pub(super) fn check_room() -> Result<(), String> {
    Ok(())
}

pub(super) fn while_mapping<T>(map: impl FnOnce() -> T) -> T {
    map()
}

pub(super) fn watch(_: Range<usize>) {}

pub(super) fn look() -> ProcessChanges {
    ProcessChanges::default()
}

pub(super) fn run_and_flush<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    Ok(code())
}

#[expect(clippy::unused_async, reason = "as on Linux")]
pub(super) async fn flush(_: &Range<usize>) -> Result<(), String> {
    Err("nothing is known of thread-locals on workers of this system".to_owned())
}

pub(super) fn close(_: &Range<usize>, close: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    close()
}

pub(super) fn forget(_: &Range<usize>) {}
