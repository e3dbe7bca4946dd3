//! Whole-daemon tests: real processes, real plugin files, real sockets.

mod calls;
mod interop;
mod peers;
mod sealed;
