//! How a peer answered of late: since when it fails, and of what last. Pure but for its memory: times are passed in.
//!
//! What proves little takes back little: a catalogue that could be fetched does not prove that the peer accepts this
//! host's key, and a hello that was answered does not prove that calls are.

use super::Timestamp;
use crate::base::{Mutex, MutexGuard};
use crate::peers::Cause;

/// How far a request came before it failed, or was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// A connection was made, or could not be.
    Connection,
    /// So was a hello, which proves the key and who answers.
    Hello,
    /// So was a call.
    Call,
}

/// The memory of one peer.
#[derive(Debug, Default)]
pub struct History(Mutex<Recent>);

/// What is remembered.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    /// The last answer: to a call, to a hello, or a catalogue.
    pub answered: Option<Timestamp>,
    /// A hello or a call was answered: this host has a key that the peer accepts, or had.
    pub was_greeted: bool,
    /// Since when it fails; nothing where it does not.
    pub failing: Option<Failing>,
    /// The last error, also once it answers again.
    pub last_error: Option<LastError>,
}

/// Failures without an answer between that would take them back.
#[derive(Debug, Clone, Copy)]
pub struct Failing {
    /// The first of them.
    pub since: Timestamp,
    /// How many there were.
    pub failures: u64,
    /// How far the one came that came furthest.
    reached: Reached,
}

/// An error that a peer made, or that was made on the way to it.
#[derive(Debug, Clone)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// The same in words, for operators only: it may name keys and addresses.
    pub reason: String,
}

impl History {
    /// LastChecks an answer that came so far.
    pub fn record_answer(&self, reached: Reached, now: Timestamp) {
        let mut recent = self.lock();
        recent.answered = Some(now);
        recent.was_greeted |= reached >= Reached::Hello;
        recent.failing = recent.failing.filter(|failing| failing.reached > reached);
    }

    /// LastChecks that the host at the other end was reached, and said nothing of use.
    pub fn record_contact(&self) {
        let mut recent = self.lock();
        recent.failing = recent.failing.filter(|failing| failing.reached > Reached::Connection);
    }

    /// LastChecks a failure that says how the peer is.
    pub fn record_failure(&self, reached: Reached, cause: Cause, reason: String, now: Timestamp) {
        let mut recent = self.lock();
        let failing = recent.failing.get_or_insert(Failing { since: now, failures: 0, reached });
        failing.failures += 1;
        failing.reached = failing.reached.max(reached);
        recent.last_error = Some(LastError { at: now, cause, reason });
    }

    /// LastChecks an error that says nothing of how the peer is.
    pub fn record_error(&self, cause: Cause, reason: String, now: Timestamp) {
        self.lock().last_error = Some(LastError { at: now, cause, reason });
    }

    /// What is remembered.
    #[must_use]
    pub fn recent(&self) -> Recent {
        self.lock().clone()
    }

    /// Why it failed last, while it fails.
    #[must_use]
    pub fn failing_of(&self) -> Option<Cause> {
        let recent = self.lock();
        recent.failing.and(recent.last_error.as_ref()).map(|error| error.cause)
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(history: &History, reached: Reached, cause: Cause) {
        history.record_failure(reached, cause, format!("{cause:?}"), Timestamp::now());
    }

    #[test]
    fn an_answer_takes_back_what_did_not_come_further() {
        let history = History::default();
        assert!(history.recent().answered.is_none(), "nothing is known");
        fail(&history, Reached::Connection, Cause::NotConnected);
        let since = history.recent().failing.unwrap().since.at;
        fail(&history, Reached::Hello, Cause::Unsealed(401));
        let failing = history.recent().failing.unwrap();
        assert_eq!((failing.since.at, failing.failures), (since, 2), "the first one began it");
        assert_eq!(history.failing_of(), Some(Cause::Unsealed(401)));
        history.record_contact();
        history.record_answer(Reached::Connection, Timestamp::now());
        assert!(history.recent().failing.is_some(), "a catalogue says nothing of the key");
        history.record_answer(Reached::Hello, Timestamp::now());
        assert!(history.recent().failing.is_none());
        fail(&history, Reached::Call, Cause::Broken);
        history.record_answer(Reached::Hello, Timestamp::now());
        assert!(history.recent().failing.is_some(), "a hello says nothing of calls");
        history.record_answer(Reached::Call, Timestamp::now());
        let recent = history.recent();
        assert!(recent.failing.is_none() && recent.answered.is_some());
        assert_eq!(recent.last_error.unwrap().cause, Cause::Broken, "the last error stays");
        assert_eq!(history.failing_of(), None);
    }

    #[test]
    fn what_is_a_matter_of_the_call_is_no_failure_of_the_peer() {
        let history = History::default();
        history.record_error(Cause::TooLarge, "too large".to_owned(), Timestamp::now());
        let recent = history.recent();
        assert!(recent.failing.is_none() && recent.answered.is_none());
        assert_eq!(recent.last_error.unwrap().reason, "too large");
        fail(&history, Reached::Connection, Cause::NotConnected);
        history.record_contact();
        assert!(history.recent().failing.is_none());
    }
}
