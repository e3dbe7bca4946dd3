//! Reads the file, the variables and the flags, and lays them over each other.

mod environment;
pub(super) mod file;
pub(super) mod layers;
mod schema;
mod sources;

pub use environment::{COMMAND_LINE_VARIABLES, Environment};
pub use file::{absolute_file, read_bounded};
pub use layers::Overrides;
pub(super) use sources::Sources;
