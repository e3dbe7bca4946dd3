//! A moment by both clocks.

use std::time::{Instant, SystemTime};

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Timestamp {
    /// For how long ago it was.
    pub at: Instant,
    /// For people.
    pub date: SystemTime,
}

impl Timestamp {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Self { at: Instant::now(), date: SystemTime::now() }
    }

    /// How long ago it was, in words.
    #[must_use]
    pub fn ago(&self) -> String {
        let passed = self.at.elapsed();
        match passed.as_secs() {
            0..10 => format!("{:.1} s ago", passed.as_secs_f64()),
            seconds @ 10..600 => format!("{seconds} s ago"),
            seconds => format!("{} min ago", seconds / 60),
        }
    }
}
