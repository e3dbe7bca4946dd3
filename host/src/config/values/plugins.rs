//! The tables `[plugins.NAME]` and `[limits]`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::base::{ConcurrencyLimit, FunctionName};

/// The table `[plugins.NAME]`, for that plugin alone; `Debug` shows no values.
#[derive(Clone)]
pub(in crate::config) struct PluginSettings {
    /// Always an object.
    pub(in crate::config) table: Value,
    /// The origins of its values, as `config_origins` of the ABI has them.
    pub(in crate::config) origins: Value,
}

impl fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The limits of plugins and functions, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallLimits {
    /// Of all calls of a plugin.
    pub plugins: BTreeMap<String, ConcurrencyLimit>,
    /// Of the calls of a function.
    pub functions: BTreeMap<FunctionName, FunctionLimit>,
}

/// The configured limit of a function; `None` leaves the limit of the function itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FunctionLimit {
    /// Maximum number of concurrent calls, 1 to 1,000,000.
    pub in_flight_max: Option<usize>,
    /// Maximum number of queued calls, 0 to 1,000,000.
    pub queue_max: Option<usize>,
}
