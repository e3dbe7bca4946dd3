//! Lets code that is about to hand the process to foreign code have the log written first.

use std::sync::OnceLock;

static FLUSH: OnceLock<fn()> = OnceLock::new();

/// Names the function that waits, for a bounded time, until the log is written. The program that owns the log calls it
/// once; without it, lines are written as they are logged.
pub fn set_log_flush(flush: fn()) {
    FLUSH.get_or_init(|| flush);
}

/// Waits until the log is written, for as long as its reader takes lines. Blocks the thread.
pub fn flush_log() {
    if let Some(flush) = FLUSH.get() {
        flush();
    }
}
