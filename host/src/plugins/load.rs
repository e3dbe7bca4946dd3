//! A plugin in memory: mapping its library, `on_start`, `on_stop`, and unmapping it.

pub(super) mod generation;
pub(super) mod library;
pub(super) mod threads;
pub(super) mod unmap;
