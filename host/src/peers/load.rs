//! How long an answer of a peer takes, so that slow ones get less: a moving average that jumps up and sinks slowly
//! ("peak EWMA", as in Finagle and Linkerd).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How fast old answers are forgotten: after this time, what was is worth 37 %.
const DECAY: Duration = Duration::from_secs(2);
/// What is assumed of a peer that has not answered yet: so little that it is asked.
const UNKNOWN: Duration = Duration::from_millis(1);
/// What a failure counts as at least: a peer that fails fast must not look fast.
const FAILURE: Duration = Duration::from_secs(1);

/// The average of one peer. Times are passed in.
#[derive(Debug, Default)]
pub struct Latency(Mutex<Option<Average>>);

#[derive(Debug, Clone, Copy)]
struct Average {
    seconds: f64,
    at: Instant,
}

impl Average {
    /// The part of it, 0 to 1, that is not forgotten yet.
    fn kept(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (-passed / DECAY.as_secs_f64()).exp()
    }
}

impl Latency {
    /// Notes an answer.
    pub fn answered(&self, took: Duration, now: Instant) {
        self.note(took, now);
    }

    /// Notes a failure.
    pub fn failed(&self, took: Duration, now: Instant) {
        self.note(took.max(FAILURE), now);
    }

    /// What the next answer is expected to take, in seconds.
    ///
    /// What was long ago counts for less also where nothing came since: otherwise a peer that was slow or away once
    /// would look so for ever, as long as there is a better one.
    #[must_use]
    pub fn seconds(&self, now: Instant) -> f64 {
        let average = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = average.map_or(0.0, |average| average.seconds * average.kept(now));
        expected.max(UNKNOWN.as_secs_f64())
    }

    fn note(&self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let mut average = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = match *average {
            Some(before) if took < before.seconds => {
                let kept = before.kept(now);
                before.seconds.mul_add(kept, took * (1.0 - kept))
            }
            _ => took,
        };
        *average = Some(Average { seconds, at: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_jumps_up_and_sinks_slowly() {
        let (latency, start) = (Latency::default(), Instant::now());
        let check_at = |expected: f64, now: Instant| {
            let seconds = latency.seconds(now);
            assert!((seconds - expected).abs() < 1e-3, "{seconds} is not {expected}");
        };
        let check = |expected: f64| check_at(expected, start);
        check(0.001);
        latency.answered(Duration::from_millis(10), start);
        check(0.010);
        latency.answered(Duration::from_millis(500), start);
        check(0.5);
        latency.answered(Duration::from_millis(10), start);
        check(0.5);
        latency.answered(Duration::ZERO, start + DECAY);
        check_at(0.5 * (-1.0_f64).exp(), start + DECAY);
        latency.failed(Duration::from_micros(50), start + DECAY);
        check_at(1.0, start + DECAY);
        // Nothing comes any more.
        check_at((-1.0_f64).exp(), start + 2 * DECAY);
        check_at(0.001, start + 20 * DECAY);
    }
}
