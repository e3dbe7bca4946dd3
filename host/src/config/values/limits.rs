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

/// The configured limit of a function; `None` leaves the limit of the function itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FunctionLimit {
    /// Maximum number of concurrent calls, 1 to 1,000,000.
    pub in_flight_max: Option<usize>,
    /// Maximum number of queued calls, 0 to 1,000,000.
    pub queue_max: Option<usize>,
}
