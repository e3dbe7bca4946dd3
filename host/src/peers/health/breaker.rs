//! The circuit breaker of one peer. Pure but for its memory: times and chance are passed in.
//!
//! Several failures in a row, or more failures than successes over the last calls, open it: calls go elsewhere for a
//! while, which grows from opening to opening and varies by chance. Then it is half-open and admits one call as a trial:
//! its success closes the breaker, its failure opens it again. Results of calls that began before it opened change
//! nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::Mutex;

/// Failures in a row that open the breaker.
const FAILURES_IN_A_ROW: u32 = 5;
/// The number of calls over which the share of failures is averaged, about: a moving average forgets.
const WATCHED_CALLS: f64 = 20.0;
/// The share of failed calls that opens the breaker.
const FAILED_SHARE: f64 = 0.5;
/// The first and the longest time that the breaker stays open. The longest bounds how late a recovered peer is tried.
const OPEN_FIRST: Duration = Duration::from_millis(250);
const OPEN_MAX: Duration = Duration::from_secs(4);
/// The time after which a trial that has not ended makes way for another one.
const TRIAL_MAX: Duration = Duration::from_secs(5);
/// The time during which a recovered peer gets less than its share.
const SLOW_START: Duration = Duration::from_secs(10);

/// The breaker of one peer.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<Circuit>);

/// The calls that a breaker admits at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Every call.
    Closed,
    /// One call, as the trial.
    HalfOpen,
    /// No call before this time.
    Open(Instant),
}

/// Leave for one call, whose result is recorded with it. Dropping the permit of a trial lets another call be the trial.
#[derive(Debug)]
pub struct BreakerPermit {
    /// The half-open breaker that the call is the trial of.
    trial_of: Option<Arc<Breaker>>,
}

#[derive(Debug)]
enum Circuit {
    Closed(ClosedCircuit),
    Open {
        until: Instant,
        /// The number of openings without a success in between.
        openings: u32,
    },
    /// A trial runs.
    Trial {
        begun: Instant,
        openings: u32,
    },
}

/// The last calls of a closed breaker.
#[derive(Debug, Default)]
struct ClosedCircuit {
    failures_in_a_row: u32,
    /// A moving average.
    failed_share: f64,
    /// The number of calls in that average, up to [`WATCHED_CALLS`].
    watched: f64,
    /// The end of the last trial; nothing if the breaker has never opened.
    since: Option<Instant>,
}

impl Breaker {
    /// Returns what the breaker admits at `now`.
    pub fn peek(&self, now: Instant) -> BreakerState {
        self.0.lock().state(now)
    }

    /// Admits a call, as the trial if the breaker is half-open.
    ///
    /// # Errors
    /// The time before which it admits none.
    pub fn acquire(self: &Arc<Self>, now: Instant) -> Result<BreakerPermit, Instant> {
        let mut circuit = self.0.lock();
        let openings = match *circuit {
            Circuit::Closed(_) => return Ok(BreakerPermit { trial_of: None }),
            Circuit::Open { openings, .. } | Circuit::Trial { openings, .. } => openings,
        };
        if let BreakerState::Open(until) = circuit.state(now) {
            return Err(until);
        }
        *circuit = Circuit::Trial { begun: now, openings };
        Ok(BreakerPermit { trial_of: Some(Arc::clone(self)) })
    }

    /// Records that the peer answered.
    pub fn record_success(&self, permit: BreakerPermit, now: Instant) {
        let is_trial = permit.redeem();
        let mut circuit = self.0.lock();
        match &mut *circuit {
            Circuit::Closed(closed) => {
                closed.failures_in_a_row = 0;
                closed.average(0.0);
            }
            Circuit::Open { .. } | Circuit::Trial { .. } if is_trial => {
                let mut closed = ClosedCircuit { since: Some(now), ..ClosedCircuit::default() };
                closed.average(0.0);
                *circuit = Circuit::Closed(closed);
            }
            Circuit::Open { .. } | Circuit::Trial { .. } => {}
        }
    }

    /// Records that the peer failed, and returns true if that opened the breaker. `chance`, 0 to 1, varies for how long.
    pub fn record_failure(&self, permit: BreakerPermit, now: Instant, chance: f64) -> bool {
        let is_trial = permit.redeem();
        let mut circuit = self.0.lock();
        let openings = match &mut *circuit {
            Circuit::Closed(closed) => {
                closed.failures_in_a_row += 1;
                closed.average(1.0);
                let is_too_often = closed.watched >= WATCHED_CALLS && closed.failed_share > FAILED_SHARE;
                if closed.failures_in_a_row < FAILURES_IN_A_ROW && !is_too_often {
                    return false;
                }
                0
            }
            Circuit::Open { openings, .. } | Circuit::Trial { openings, .. } if is_trial => *openings,
            Circuit::Open { .. } | Circuit::Trial { .. } => return false,
        };
        let doubled = OPEN_FIRST.saturating_mul(1 << openings.min(16)).min(OPEN_MAX);
        // At least three quarters of it: peers that failed together are not tried together.
        let until = now + doubled.mul_f64(chance.clamp(0.0, 1.0).mul_add(0.25, 0.75));
        *circuit = Circuit::Open { until, openings: openings.saturating_add(1) };
        true
    }

    /// Makes an open breaker half-open: the peer says that it is ready, and the next call finds out.
    pub fn half_open(&self, now: Instant) {
        if let Circuit::Open { until, .. } = &mut *self.0.lock() {
            *until = now;
        }
    }

    /// Returns the part of its share that the peer gets, 0.1 to 1: less for a while after its recovery.
    pub fn share(&self, now: Instant) -> f64 {
        let Circuit::Closed(ClosedCircuit { since: Some(since), .. }) = *self.0.lock() else { return 1.0 };
        let passed = now.saturating_duration_since(since);
        (passed.as_secs_f64() / SLOW_START.as_secs_f64()).clamp(0.1, 1.0)
    }
}

impl BreakerPermit {
    /// Returns true if the call finds out whether the peer is back.
    pub fn is_trial(&self) -> bool {
        self.trial_of.is_some()
    }

    /// Takes the trial out, so that dropping the permit does not give it back.
    fn redeem(mut self) -> bool {
        self.trial_of.take().is_some()
    }
}

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        let Some(breaker) = self.trial_of.take() else { return };
        let mut circuit = breaker.0.lock();
        if let Circuit::Trial { begun, openings } = *circuit {
            *circuit = Circuit::Open { until: begun, openings };
        }
    }
}

impl Default for Circuit {
    fn default() -> Self {
        Self::Closed(ClosedCircuit::default())
    }
}

impl Circuit {
    fn state(&self, now: Instant) -> BreakerState {
        let until = match *self {
            Self::Closed(_) => return BreakerState::Closed,
            Self::Open { until, .. } => until,
            Self::Trial { begun, .. } => begun + TRIAL_MAX,
        };
        if now < until { BreakerState::Open(until) } else { BreakerState::HalfOpen }
    }
}

impl ClosedCircuit {
    /// Takes the result of one call into the average: 1 for a failure, 0 for a success.
    fn average(&mut self, failed: f64) {
        self.watched = (self.watched + 1.0).min(WATCHED_CALLS);
        self.failed_share += (failed - self.failed_share) / self.watched;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Arc<Breaker>, now: Instant, chance: f64) -> bool {
        breaker.record_failure(breaker.acquire(now).unwrap(), now, chance)
    }

    fn succeed(breaker: &Arc<Breaker>, now: Instant) {
        breaker.record_success(breaker.acquire(now).unwrap(), now);
    }

    fn open(breaker: &Arc<Breaker>, now: Instant) {
        for _ in 0..FAILURES_IN_A_ROW - 1 {
            assert!(!fail(breaker, now, 1.0));
            assert_eq!(breaker.peek(now), BreakerState::Closed);
        }
        assert!(fail(breaker, now, 1.0));
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_call_finds_out() {
        let (breaker, start) = (Arc::<Breaker>::default(), Instant::now());
        let from_before = breaker.acquire(start).unwrap();
        open(&breaker, start);
        let until = start + OPEN_FIRST;
        assert_eq!(breaker.acquire(start).unwrap_err(), until);
        assert_eq!(breaker.peek(until), BreakerState::HalfOpen);
        let trial = breaker.acquire(until).unwrap();
        assert!(trial.is_trial());
        assert_eq!(breaker.acquire(until).unwrap_err(), until + TRIAL_MAX, "one at a time");
        breaker.record_success(from_before, until);
        assert_eq!(
            breaker.peek(until),
            BreakerState::Open(until + TRIAL_MAX),
            "a call from before changes nothing"
        );
        drop(trial);
        let trial = breaker.acquire(until).unwrap();
        assert!(trial.is_trial(), "the first trial was dropped");
        breaker.record_success(trial, until);
        assert_eq!(breaker.peek(until), BreakerState::Closed);
        assert!((breaker.share(until) - 0.1).abs() < 1e-9);
        assert!((breaker.share(until + SLOW_START / 2) - 0.5).abs() < 1e-9);
        assert!((breaker.share(until + SLOW_START * 2) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn each_opening_is_longer_up_to_the_most() {
        let (breaker, mut now) = (Arc::<Breaker>::default(), Instant::now());
        open(&breaker, now);
        let mut lengths = Vec::new();
        for _ in 0..7 {
            let BreakerState::Open(until) = breaker.peek(now) else { panic!("it is open") };
            lengths.push((until - now).as_millis());
            now = until;
            assert!(fail(&breaker, now, 1.0));
        }
        assert_eq!(lengths, [250, 500, 1000, 2000, 4000, 4000, 4000]);
        now += OPEN_MAX;
        assert!(fail(&breaker, now, 0.0));
        assert_eq!(
            breaker.peek(now),
            BreakerState::Open(now + OPEN_MAX * 3 / 4),
            "chance takes up to a quarter"
        );
    }

    #[test]
    fn more_failures_than_successes_open_it() {
        let (breaker, now) = (Arc::<Breaker>::default(), Instant::now());
        let mut calls = 0;
        // Two of three fail, never five in a row.
        while breaker.peek(now) == BreakerState::Closed {
            match calls % 3 {
                0 => succeed(&breaker, now),
                _ => _ = fail(&breaker, now, 1.0),
            }
            calls += 1;
            assert!(calls < 60, "it never opened");
        }
        assert!(calls >= 20, "{calls} calls are too few to judge by");
        let breaker = Arc::<Breaker>::default();
        for call in 0..1000 {
            match call % 3 {
                0 => _ = fail(&breaker, now, 1.0),
                _ => succeed(&breaker, now),
            }
        }
        assert_eq!(breaker.peek(now), BreakerState::Closed, "one of three may fail");
    }

    #[test]
    fn a_peer_that_says_that_it_is_ready_is_tried_at_once() {
        let (breaker, now) = (Arc::<Breaker>::default(), Instant::now());
        open(&breaker, now);
        breaker.half_open(now);
        assert!(breaker.acquire(now).unwrap().is_trial());
    }
}
