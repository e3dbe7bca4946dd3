//! The time of this process.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unix time that never goes back: the wall clock at start, and what has passed since.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started_at_ms: u64,
    started: Instant,
}

impl Clock {
    /// Reads the wall clock, once.
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), started: Instant::now() }
    }

    /// As this one, but at least at `unix_ms` by now.
    #[must_use]
    pub fn not_before(self, unix_ms: u64) -> Self {
        Self { started_at_ms: self.started_at_ms.max(unix_ms), ..self }
    }

    /// When the process started, Unix time in milliseconds.
    pub fn started_at_ms(&self) -> u64 {
        self.started_at_ms
    }

    /// Now, Unix time in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.started_at_ms.saturating_add(u64::try_from(self.uptime().as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns the time since the process started.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}
