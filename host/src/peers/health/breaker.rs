//! Whether a peer is asked at all: a circuit breaker. Pure but for its memory: times and chance are passed in.
//!
//! Several failures in a row, or more failures than successes over the last calls, open it: for a while, that grows from
//! opening to opening and is never the same twice, the peer is not asked. Then one call is let through to find out; the
//! others go elsewhere until that one has ended. Successes of calls that began before it opened do not close it.
use std::time::{Duration, Instant};

use crate::base::Mutex;

/// Failures in a row that open it.
const FAILURES_IN_A_ROW: u32 = 5;
/// Of how many calls the share that failed is watched, about: a moving average forgets.
const WATCHED_CALLS: f64 = 20.0;
/// The share of failed calls that opens it.
const FAILED_SHARE: f64 = 0.5;
/// For how long it opens first, and at most. The last one bounds how long a peer that is back stays unasked.
const OPEN_FIRST: Duration = Duration::from_millis(250);
const OPEN_MAX: Duration = Duration::from_secs(4);
/// How long the one call that finds out may take before another one may.
const TRIAL_MAX: Duration = Duration::from_secs(5);
/// How long a peer that came back gets less than its share.
const SLOW_START: Duration = Duration::from_secs(10);

/// The breaker of one peer.
#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures_in_a_row: u32,
    /// Of the last calls, as moving averages.
    failed_share: f64,
    /// How many calls that average is made of, up to [`WATCHED_CALLS`].
    watched: f64,
    open: Option<Open>,
    /// How often it opened without a success between.
    openings: u32,
    /// When it closed last.
    closed_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    until: Instant,
    /// Until when one call is finding out.
    trial_until: Option<Instant>,
}

/// Whether a call may go to the peer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Yes,
    /// Yes, as the one that finds out whether the peer is back.
    Trial,
    /// No, until then at least.
    No(Instant),
}

impl Health {
    /// Whether a call could go to the peer now, without taking the trial.
    #[must_use]
    pub fn look(&self, now: Instant) -> Admission {
        self.state().admission(now)
    }

    /// Whether this call may go to the peer now; it may have taken the trial.
    pub fn admit(&self, now: Instant) -> Admission {
        let mut state = self.state();
        let admission = state.admission(now);
        if let (Admission::Trial, Some(open)) = (admission, &mut state.open) {
            open.trial_until = Some(now + TRIAL_MAX);
        }
        admission
    }

    /// Notes that the peer answered. `trial` says that the call was the one to find out.
    pub fn succeeded(&self, now: Instant, trial: bool) {
        let mut state = self.state();
        if state.open.is_some() && !trial {
            return;
        }
        if state.open.take().is_some() {
            *state = State { closed_at: Some(now), ..State::default() };
        }
        state.failures_in_a_row = 0;
        state.openings = 0;
        state.watch(0.0);
    }

    /// Notes that the peer failed; `chance`, 0 to 1, varies how long it is left alone. Answers whether it opened.
    pub fn failed(&self, now: Instant, trial: bool, chance: f64) -> bool {
        let mut state = self.state();
        if state.open.is_some() {
            // Of a call that began before it opened: nothing new.
            if !trial {
                return false;
            }
            state.reopen(now, chance);
            return true;
        }
        state.failures_in_a_row += 1;
        state.watch(1.0);
        let too_often = state.watched >= WATCHED_CALLS && state.failed_share > FAILED_SHARE;
        if state.failures_in_a_row < FAILURES_IN_A_ROW && !too_often {
            return false;
        }
        state.reopen(now, chance);
        true
    }

    /// Notes that the one call that was to find out never did: another one may.
    pub fn trial_ended(&self) {
        if let Some(open) = &mut self.state().open {
            open.trial_until = None;
        }
    }

    /// Notes that the peer says of itself that it is ready: a call may find out at once.
    pub fn says_ready(&self, now: Instant) {
        if let Some(open) = &mut self.state().open {
            open.until = now;
        }
    }

    /// The part of its share that the peer gets, 0.1 to 1: less for a while after it came back.
    #[must_use]
    pub fn share(&self, now: Instant) -> f64 {
        let since = self.state().closed_at.map(|closed_at| now.saturating_duration_since(closed_at));
        since.map_or(1.0, |since| (since.as_secs_f64() / SLOW_START.as_secs_f64()).clamp(0.1, 1.0))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl State {
    fn admission(&self, now: Instant) -> Admission {
        match self.open {
            None => Admission::Yes,
            Some(Open { until, .. }) if now < until => Admission::No(until),
            Some(Open { trial_until: Some(until), .. }) if now < until => Admission::No(until),
            Some(_) => Admission::Trial,
        }
    }

    fn watch(&mut self, failed: f64) {
        self.watched = (self.watched + 1.0).min(WATCHED_CALLS);
        self.failed_share += (failed - self.failed_share) / self.watched;
    }

    fn reopen(&mut self, now: Instant, chance: f64) {
        let doubled = OPEN_FIRST.saturating_mul(1 << self.openings.min(16)).min(OPEN_MAX);
        self.openings = self.openings.saturating_add(1);
        // Three quarters of it at least: peers that failed together are not asked again together.
        let until = now + doubled.mul_f64(chance.clamp(0.0, 1.0).mul_add(0.25, 0.75));
        self.open = Some(Open { until, trial_until: None });
        self.failures_in_a_row = 0;
        self.failed_share = 0.0;
        self.watched = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(health: &Health, now: Instant) {
        for _ in 0..FAILURES_IN_A_ROW - 1 {
            assert!(!health.failed(now, false, 1.0));
            assert_eq!(health.look(now), Admission::Yes);
        }
        assert!(health.failed(now, false, 1.0));
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_call_finds_out() {
        let (health, start) = (Health::default(), Instant::now());
        open(&health, start);
        let until = start + OPEN_FIRST;
        assert_eq!(health.admit(start), Admission::No(until));
        assert_eq!(health.admit(until), Admission::Trial);
        assert_eq!(health.admit(until), Admission::No(until + TRIAL_MAX), "one at a time");
        health.succeeded(until, false);
        assert_eq!(health.admit(until), Admission::No(until + TRIAL_MAX), "a call from before says nothing");
        health.trial_ended();
        assert_eq!(health.admit(until), Admission::Trial, "the first one was dropped");
        health.succeeded(until, true);
        assert_eq!(health.admit(until), Admission::Yes);
        assert!((health.share(until) - 0.1).abs() < 1e-9);
        assert!((health.share(until + SLOW_START / 2) - 0.5).abs() < 1e-9);
        assert!((health.share(until + SLOW_START * 2) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn each_opening_is_longer_up_to_the_most() {
        let (health, mut now) = (Health::default(), Instant::now());
        open(&health, now);
        let mut lengths = Vec::new();
        for _ in 0..7 {
            let Admission::No(until) = health.look(now) else { panic!("it is open") };
            lengths.push((until - now).as_millis());
            now = until;
            assert_eq!(health.admit(now), Admission::Trial);
            health.failed(now, true, 1.0);
        }
        assert_eq!(lengths, [250, 500, 1000, 2000, 4000, 4000, 4000]);
        health.failed(now, true, 0.0);
        assert_eq!(health.look(now), Admission::No(now + OPEN_MAX * 3 / 4), "chance takes up to a quarter");
    }

    #[test]
    fn more_failures_than_successes_open_it() {
        let (health, now) = (Health::default(), Instant::now());
        let mut calls = 0;
        // Two of three fail, never five in a row.
        while health.look(now) == Admission::Yes {
            match calls % 3 {
                0 => health.succeeded(now, false),
                _ => drop(health.failed(now, false, 1.0)),
            }
            calls += 1;
            assert!(calls < 60, "it never opened");
        }
        assert!(calls >= 20, "{calls} calls are too few to judge by");
        let health = Health::default();
        for call in 0..1000 {
            match call % 3 {
                0 => drop(health.failed(now, false, 1.0)),
                _ => health.succeeded(now, false),
            }
        }
        assert_eq!(health.look(now), Admission::Yes, "one of three may fail");
    }

    #[test]
    fn a_peer_that_says_that_it_is_ready_is_tried_at_once() {
        let (health, now) = (Health::default(), Instant::now());
        open(&health, now);
        health.says_ready(now);
        assert_eq!(health.admit(now), Admission::Trial);
    }
}
