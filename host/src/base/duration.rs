//! Durations in whole milliseconds, and with chance in them.

use std::time::Duration;

/// Returns the whole milliseconds of a duration.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns half of a pause to all of it, by chance: tasks that begin together do not go on together.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random::<f64>().mul_add(0.5, 0.5))
}
