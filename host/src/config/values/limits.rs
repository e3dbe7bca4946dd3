//! The limits of plugins and functions.

use std::collections::BTreeMap;

use crate::base::{ConcurrencyLimit, FunctionName};

/// The limits of plugins and functions, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallLimits {
    /// Of all calls of a plugin.
    pub plugins: BTreeMap<String, ConcurrencyLimit>,
    /// Of the calls of a function.
    pub functions: BTreeMap<FunctionName, FunctionLimit>,
}

/// What the config says of the limit of a function; what it does not say is as the function itself says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FunctionLimit {
    /// Most calls that run at once, 1 to 1,000,000.
    pub in_flight_max: Option<usize>,
    /// Most that wait, 0 to 1,000,000.
    pub queue_max: Option<usize>,
}
