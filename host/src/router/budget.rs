//! The retry budget: a part of all calls and a few more, so that retries never become the load.
use std::time::Instant;

use crate::base::Mutex;

/// The part of calls that may be made again (20 %).
const PART: f64 = 0.2;
/// Further retries per second.
const PER_SECOND: f64 = 10.0;
/// Maximum of saved retries: 10 seconds' worth, so that a quiet hour does not allow a storm.
const SAVED_MAX: f64 = 100.0;

/// The retries that are left. Times are passed in.
#[derive(Debug)]
pub(super) struct RetryBudget(Mutex<Left>);

#[derive(Debug)]
struct Left {
    retries: f64,
    at: Instant,
}

impl RetryBudget {
    /// Creates a budget with the retries of one second.
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Left { retries: PER_SECOND, at: now }))
    }

    /// Adds the retries that a new call brings.
    pub(super) fn called(&self) {
        let mut left = self.0.lock();
        left.retries = (left.retries + PART).min(SAVED_MAX);
    }

    /// Takes one retry; returns false if none is left.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut left = self.0.lock();
        let passed = now.saturating_duration_since(left.at).as_secs_f64();
        left.at = now;
        left.retries = passed.mul_add(PER_SECOND, left.retries).min(SAVED_MAX);
        let has_one = left.retries >= 1.0;
        if has_one {
            left.retries -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(budget: &RetryBudget, now: Instant) -> usize {
        (0..1000).take_while(|_| budget.take(now)).count()
    }

    #[test]
    fn retries_are_a_fifth_of_the_calls_and_ten_a_second() {
        let start = Instant::now();
        let budget = RetryBudget::new(start);
        assert_eq!(taken(&budget, start), 10);
        (0..101).for_each(|_| budget.called());
        assert_eq!(taken(&budget, start), 20);
        assert_eq!(taken(&budget, start + Duration::from_millis(1001)), 10);
        assert_eq!(taken(&budget, start + Duration::from_secs(3600)), 100, "no more is saved up");
    }
}
