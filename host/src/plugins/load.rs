//! A plugin in memory: mapping its library, `on_start`, `on_stop`, and unmapping it.

pub(super) mod companions;
pub(super) mod generation;
pub(super) mod library;
pub(super) mod mapper;
pub(super) mod on_thread;
pub(super) mod unmap;
