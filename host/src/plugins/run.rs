//! Calls into a plugin, and the calls that it makes itself.

pub(super) mod call;
pub(super) mod handle;
pub(super) mod host_table;
pub(super) mod lease;
pub(super) mod nested_call;
pub(super) mod routes;
pub(super) mod waker;
pub(super) mod watchdog;
