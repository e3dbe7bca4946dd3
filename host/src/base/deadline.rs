//! The deadline of a call.

use std::time::{Duration, Instant};

/// The point in time by which a call has ended; it only ever moves closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// So far from now; capped at a day, so that no sum overflows.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration.min(Duration::from_secs(86_400)))
    }

    /// Returns the time that is left; `None` once it has passed.
    pub fn remaining(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}
