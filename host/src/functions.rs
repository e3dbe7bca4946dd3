//! The function table: which functions this host has, and the numbers that plugins know names by.
//!
//! One immutable snapshot is current at a time; publishing swaps it, and readers never wait.
//!
//! Layer: above `wire`. It must never know what a handler is made of, nor where a call runs.

mod handler;
mod limits;
mod names;
mod stats;
mod table;

pub use handler::{CallFuture, Function, Handler, Started, run};
pub use limits::{DeclaredLimit, FunctionLimits, Rejected};
pub use names::{FunctionNumber, Names};
pub use stats::CallStats;
pub use table::{NameTaken, Publication, Snapshot, Table, Withdrawn};
