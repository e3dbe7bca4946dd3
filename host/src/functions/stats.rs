//! Counts and timings of the calls of one function or peer, for `/metrics`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::base::{Counter, ErrorCode, Outcome, Timings};

/// Calls of one function that ran here, or of one peer, since the process started.
#[derive(Debug, Default)]
pub struct CallStats {
    running: AtomicUsize,
    done: Counter,
    failed: [Counter; ErrorCode::ALL.len()],
    timings: Timings,
}

impl CallStats {
    /// Counts a call that begins.
    pub fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that has ended, with its duration.
    pub fn end(&self, outcome: &Outcome, took: Duration) {
        match outcome {
            Ok(_) => self.done.count(),
            Err(failure) => self.count(failure.code),
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.timings.note(took);
    }

    /// Counts a call that was dropped after it began.
    pub fn cancel(&self, took: Duration) {
        self.count(ErrorCode::Cancelled);
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.timings.note(took);
    }

    /// Counts a call that was rejected before it began.
    pub fn refuse(&self, code: ErrorCode) {
        self.count(code);
    }

    /// Returns the number of running calls.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Returns the number of calls per outcome, `ok` or an error code, without the outcomes that never occurred.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let failed =
            ErrorCode::ALL.into_iter().map(ErrorCode::as_str).zip(self.failed.iter().map(Counter::get));
        std::iter::once(("ok", self.done.get())).chain(failed).filter(|(_, count)| *count > 0)
    }

    /// Returns the durations of the calls.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    fn count(&self, code: ErrorCode) {
        self.failed[code.index()].count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Failure;

    #[test]
    fn every_call_is_counted_once() {
        let stats = CallStats::default();
        for _ in 0..3 {
            stats.begin();
        }
        stats.end(&Ok(bytes::Bytes::new()), Duration::ZERO);
        stats.end(&Err(Box::new(Failure::new(ErrorCode::Internal, ""))), Duration::ZERO);
        assert_eq!(stats.running(), 1);
        stats.cancel(Duration::ZERO);
        stats.refuse(ErrorCode::Overloaded);
        let counted: Vec<_> = stats.outcomes().collect();
        assert_eq!(counted, [("ok", 1), ("cancelled", 1), ("overloaded", 1), ("internal", 1)]);
        assert_eq!(stats.running(), 0);
    }
}
