//! Counting: numbers that many threads add to and `/metrics` reads. An addition is one uncontended atomic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Lines of the log that this process could not hand over.
pub static LOG_LINES_DROPPED: Counter = Counter(AtomicU64::new(0));

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts several.
    pub fn add(&self, several: u64) {
        self.0.fetch_add(several, Ordering::Relaxed);
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram of durations, in steps that suit calls from within the machine up to those at their deadline.
#[derive(Debug, Default)]
pub struct Timings {
    buckets: [AtomicU64; Timings::BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Timings {
    /// Upper bounds of the steps in seconds; the last step has none.
    /// From 5 ms to 10 s, they equal the defaults of Prometheus clients.
    pub const BOUNDS: [f64; 17] = [
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        10.0, 30.0,
    ];
    /// The same in microseconds.
    const MICROSECONDS: [u64; 17] = [
        100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 30_000_000,
    ];

    /// Records a duration.
    pub fn note(&self, took: Duration) {
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let step = Self::MICROSECONDS.partition_point(|bound| *bound < microseconds);
        self.buckets[step].fetch_add(1, Ordering::Relaxed);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// The sum in seconds, and how many fell into each step: of its upper bound, and not into one before.
    pub fn read(&self) -> (f64, Vec<(f64, u64)>) {
        let bounds = Self::BOUNDS.into_iter().chain([f64::INFINITY]);
        let steps = bounds.zip(&self.buckets).map(|(bound, count)| (bound, count.load(Ordering::Relaxed)));
        let sum = Duration::from_micros(self.microseconds.load(Ordering::Relaxed));
        (sum.as_secs_f64(), steps.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_falls_into_one_step() {
        let timings = Timings::default();
        for microseconds in [0, 100, 101, 30_000_000, 30_000_001] {
            timings.note(Duration::from_micros(microseconds));
        }
        let (sum, steps) = timings.read();
        assert!((sum - 60.000_202).abs() < 1e-9);
        let filled: Vec<(f64, u64)> = steps.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.000_1, 2), (0.000_25, 1), (30.0, 1), (f64::INFINITY, 1)]);
    }

    #[test]
    fn the_bounds_are_the_same_in_both_units() {
        let same = |(seconds, microseconds): (f64, u64)| (seconds * 1e6 - microseconds as f64).abs() < 1e-6;
        assert!(Timings::BOUNDS.into_iter().zip(Timings::MICROSECONDS).all(same));
    }
}
