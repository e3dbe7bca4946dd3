//! Shows a config: as a dump, and by warnings.

mod dump;
mod names;
mod warnings;

pub use names::Known;
