//! The latency of a peer, so that slow peers get fewer calls: a moving average that rises at once and falls slowly
//! ("peak EWMA", as in Finagle and Linkerd). Calls that wait count as well, since a peer that never answers has no
//! average.
use std::time::{Duration, Instant};

use crate::base::{Mutex, MutexGuard};

/// The decay of old answers: after this time, 37 % of their weight is left.
const DECAY: Duration = Duration::from_secs(2);
/// The time for which an answer proves that the peer still answers.
const PROOF: Duration = Duration::from_secs(6);
/// The assumed latency of a peer without a recent answer: low, so that it is tried.
const UNKNOWN: Duration = Duration::from_millis(1);
/// The assumed latency while such a trial runs: high, so that other calls go to other peers.
const UNPROVED: Duration = Duration::from_secs(1);
/// The minimum latency of a failure: a peer that fails fast must not look fast.
const FAILURE: Duration = Duration::from_secs(1);
/// The number of errors of functions in a row that count as a failure of the peer: it may be broken there alone.
const ERRORS_IN_A_ROW: u32 = 5;

/// The latency of one peer. Times are passed in.
#[derive(Debug)]
pub struct Latency {
    origin: Instant,
    state: Mutex<LatencyState>,
}

#[derive(Debug, Default)]
struct LatencyState {
    average: Option<Average>,
    /// The reason for the average if it was not an answer.
    penalty: Option<&'static str>,
    /// The latency of the last answer.
    last_took: Option<Duration>,
    errors_in_a_row: u32,
    /// The number of calls that wait for an answer, and the sum of their start times since the origin.
    waiting: u32,
    begun: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Average {
    seconds: f64,
    at: Instant,
}

impl Average {
    /// Returns the part of it, 0 to 1, that has not decayed yet.
    fn kept(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (-passed / DECAY.as_secs_f64()).exp()
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self { origin: Instant::now(), state: Mutex::default() }
    }
}

impl Latency {
    /// Records the start of a call, which ends with [`Latency::end`].
    pub fn begin(&self, now: Instant) {
        let since = now.saturating_duration_since(self.origin);
        let mut state = self.state();
        state.waiting += 1;
        state.begun += since;
    }

    /// Records the end of a call that began at that time.
    pub fn end(&self, begun: Instant) {
        let since = begun.saturating_duration_since(self.origin);
        let mut state = self.state();
        state.waiting = state.waiting.saturating_sub(1);
        state.begun = state.begun.saturating_sub(since);
    }

    /// Records an answer.
    pub fn record_answer(&self, took: Duration, now: Instant) {
        let mut state = self.state();
        state.errors_in_a_row = 0;
        state.last_took = Some(took);
        if took.as_secs_f64() >= state.expected(now) {
            state.penalty = None;
        }
        state.note(took, now);
    }

    /// Records an error of the function or of its caller: one alone is not a reason to call another peer, and a fast
    /// one no reason to prefer this peer.
    pub fn record_error(&self, took: Duration, now: Instant) {
        let mut state = self.state();
        state.errors_in_a_row = state.errors_in_a_row.saturating_add(1);
        match state.errors_in_a_row {
            0..ERRORS_IN_A_ROW => state.at_least(took, now),
            _ => {
                state.penalty = Some("it answered several errors in a row");
                state.note(took.max(FAILURE), now);
            }
        }
    }

    /// Records a failure.
    pub fn record_failure(&self, took: Duration, now: Instant) {
        let mut state = self.state();
        state.penalty = Some("it failed");
        state.note(took.max(FAILURE), now);
    }

    /// Records a call that was given up after `took` without an answer.
    pub fn record_timeout(&self, took: Duration, now: Instant) {
        self.state().at_least(took, now);
    }

    /// Returns the expected latency of the next answer in seconds.
    ///
    /// Old answers decay even without new ones: otherwise a peer that was slow or away once would look so forever, as
    /// long as there is a better one.
    pub fn seconds(&self, now: Instant) -> f64 {
        let state = self.state();
        let waited = match state.waiting {
            0 => Duration::ZERO,
            waiting => now.saturating_duration_since(self.origin).saturating_sub(state.begun / waiting),
        };
        let is_proved =
            state.average.is_some_and(|average| now.saturating_duration_since(average.at) < PROOF);
        let assumed = if state.waiting > 0 && !is_proved { UNPROVED } else { UNKNOWN };
        state.expected(now).max(assumed.max(waited).as_secs_f64())
    }

    /// Describes the measured latency, and the one that ranks the peer if that is much higher, in words that follow
    /// others.
    pub fn describe(&self, now: Instant) -> String {
        let ranked = self.seconds(now);
        let state = self.state();
        let measured = state.last_took;
        let mut said = measured.map_or_else(String::new, |took| {
            format!("; its last answer took {:.1} ms", took.as_secs_f64() * 1000.0)
        });
        if ranked > 2.0 * measured.map_or(0.0, |took| took.as_secs_f64()).max(UNKNOWN.as_secs_f64()) {
            let is_expected = state.expected(now) >= ranked;
            let why = match state.penalty {
                _ if !is_expected => "calls wait for it",
                Some(penalty) => penalty,
                None => "an answer took longer not long ago",
            };
            said.push_str(&format!("; ranked as if an answer took {:.0} ms, because {why}", ranked * 1000.0));
        }
        said
    }

    fn state(&self) -> MutexGuard<'_, LatencyState> {
        self.state.lock()
    }
}

impl LatencyState {
    fn expected(&self, now: Instant) -> f64 {
        self.average.map_or(0.0, |average| average.seconds * average.kept(now))
    }

    fn at_least(&mut self, took: Duration, now: Instant) {
        if took.as_secs_f64() > self.expected(now) {
            self.penalty = Some("it did not answer in the time that a call had");
            self.average = Some(Average { seconds: took.as_secs_f64(), at: now });
        }
    }

    fn note(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let seconds = match self.average {
            Some(before) if took < before.seconds => {
                let kept = before.kept(now);
                before.seconds.mul_add(kept, took * (1.0 - kept))
            }
            _ => took,
        };
        self.average = Some(Average { seconds, at: now });
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
        latency.record_answer(Duration::from_millis(10), start);
        check(0.010);
        latency.record_answer(Duration::from_millis(500), start);
        check(0.5);
        latency.record_answer(Duration::from_millis(10), start);
        check(0.5);
        latency.record_answer(Duration::ZERO, start + DECAY);
        check_at(0.5 * (-1.0_f64).exp(), start + DECAY);
        latency.record_failure(Duration::from_micros(50), start + DECAY);
        check_at(1.0, start + DECAY);
        // No further answers.
        check_at((-1.0_f64).exp(), start + 2 * DECAY);
        check_at(0.001, start + 20 * DECAY);
    }

    #[test]
    fn who_does_not_answer_looks_slower_and_slower() {
        let latency = Latency::default();
        let start = Instant::now();
        latency.begin(start);
        assert!(latency.seconds(start) >= 1.0, "whether it answers is unknown");
        let later = start + Duration::from_secs(10);
        latency.begin(later);
        let seconds = latency.seconds(later + Duration::from_secs(10));
        assert!((seconds - 15.0).abs() < 0.01, "{seconds}: 20 and 10 on average");
        latency.end(start);
        latency.end(later);
        // Calls that are given up record how long they waited.
        latency.record_timeout(Duration::from_secs(3), later);
        latency.record_timeout(Duration::from_secs(2), later);
        assert!((latency.seconds(later) - 3.0).abs() < 0.01);
    }

    #[test]
    fn a_penalty_is_not_shown_as_a_time() {
        let (latency, now) = (Latency::default(), Instant::now());
        assert_eq!(latency.describe(now), "", "nothing was measured");
        latency.record_answer(Duration::from_micros(1700), now);
        assert_eq!(latency.describe(now), "; its last answer took 1.7 ms");
        latency.record_failure(Duration::from_micros(50), now);
        let expected =
            "; its last answer took 1.7 ms; ranked as if an answer took 1000 ms, because it failed";
        assert_eq!(latency.describe(now), expected);
        assert_eq!(latency.describe(now + 20 * DECAY), "; its last answer took 1.7 ms");
        let asked = Latency::default();
        asked.begin(now);
        assert_eq!(asked.describe(now), "; ranked as if an answer took 1000 ms, because calls wait for it");
    }

    #[test]
    fn fast_errors_do_not_look_fast() {
        let (latency, start) = (Latency::default(), Instant::now());
        latency.record_answer(Duration::from_millis(50), start);
        for _ in 1..ERRORS_IN_A_ROW {
            latency.record_error(Duration::ZERO, start);
        }
        assert!((latency.seconds(start) - 0.05).abs() < 1e-3);
        latency.record_error(Duration::ZERO, start);
        assert!((latency.seconds(start) - 1.0).abs() < 1e-3);
        latency.record_answer(Duration::from_millis(50), start);
        latency.record_error(Duration::ZERO, start + 20 * DECAY);
        assert!(latency.seconds(start + 20 * DECAY) < 0.05, "an answer ends the row");
    }
}
