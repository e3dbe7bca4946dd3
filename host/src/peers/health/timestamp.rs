//! A moment by two clocks.

use std::time::{Instant, SystemTime};

/// A moment by two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Timestamp {
    /// The steady clock, for durations.
    pub at: Instant,
    /// The system's clock, for people.
    pub date: SystemTime,
}

impl Timestamp {
    /// Returns the present moment.
    pub fn now() -> Self {
        Self { at: Instant::now(), date: SystemTime::now() }
    }

    /// Returns the time since then in words.
    pub fn ago(&self) -> String {
        let passed = self.at.elapsed();
        match passed.as_secs() {
            0..10 => format!("{:.1} s ago", passed.as_secs_f64()),
            seconds @ 10..600 => format!("{seconds} s ago"),
            seconds => format!("{} min ago", seconds / 60),
        }
    }
}
