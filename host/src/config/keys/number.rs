//! The whole numbers of the file: the default and the bounds of one.

/// The default and the bounds of a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct NumberRule {
    /// The value of a key that is missing.
    pub(in crate::config) default: i64,
    /// The minimum.
    pub(in crate::config) min: i64,
    /// The maximum.
    pub(in crate::config) max: i64,
}

pub(in crate::config) const COUNT_MAX: i64 = 1_000_000;
pub(in crate::config) const MINUTE_MS: i64 = 60_000;
pub(in crate::config) const HOUR_MS: i64 = 60 * MINUTE_MS;
pub(in crate::config) const DAY_MS: i64 = 24 * HOUR_MS;

pub(in crate::config) const fn number(default: i64, min: i64, max: i64) -> NumberRule {
    NumberRule { default, min, max }
}

impl NumberRule {
    /// Returns the allowed value that is nearest to `raw`, or the default.
    pub(in crate::config) fn nearest(self, raw: Option<i64>) -> i64 {
        raw.unwrap_or(self.default).clamp(self.min, self.max)
    }

    /// Returns what is allowed, for an error.
    pub(in crate::config) fn needed(self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }
}
