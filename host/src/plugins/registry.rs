//! What the host knows of each plugin, in memory and on disk.

pub(super) mod entry;
pub(super) mod failures;
pub(super) mod record;
pub(super) mod stopwatch;
pub(super) mod tries;
