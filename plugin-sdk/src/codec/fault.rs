//! The error of a value that cannot be encoded or decoded.

use std::fmt;

use serde::{de, ser};

/// One sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(Box<str>);

impl Fault {
    pub(super) fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The value is nested more than travels.
    pub(super) fn too_deep() -> Self {
        Self::new(format!("nested more than {} levels deep", super::DEPTH_MAX))
    }

    /// The bytes end within a value.
    pub(super) fn cut_short() -> Self {
        Self::new("the message ends within a value")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl ser::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(text.to_string())
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(text.to_string())
    }
}
