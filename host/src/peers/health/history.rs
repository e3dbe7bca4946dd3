//! The last answers and failures of a peer. Pure but for its memory: times are passed in.
//!
//! An answer ends only failures at its own stage and before: a fetched catalogue does not prove that the peer accepts
//! this host's key, and an answered hello does not prove that calls are answered.

use super::Timestamp;
use crate::base::{Mutex, MutexGuard};
use crate::peers::Cause;

/// The stage that a request reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// The connection.
    Connection,
    /// The hello, which proves the key and who answers.
    Hello,
    /// The call.
    Call,
}

/// The history of one peer.
#[derive(Debug, Default)]
pub struct History(Mutex<Recent>);

/// The last answers and failures.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    /// The last answer: to a call, a hello, or a request for the catalogue.
    pub answered: Option<Timestamp>,
    /// The peer has answered a hello or a call: it accepts a key of this host, or did.
    pub was_greeted: bool,
    /// The present failures; nothing if it does not fail.
    pub failing: Option<Failing>,
    /// The last error. It stays when the peer answers again.
    pub last_error: Option<LastError>,
}

/// Failures since the last answer that would have ended them.
#[derive(Debug, Clone, Copy)]
pub struct Failing {
    /// The first of them.
    pub since: Timestamp,
    /// Their number.
    pub failures: u64,
    /// The furthest stage that any of them reached.
    reached: Reached,
}

/// An error of a peer, or on the way to it.
#[derive(Debug, Clone)]
pub struct LastError {
    /// The time.
    pub at: Timestamp,
    /// The cause.
    pub cause: Cause,
    /// The same in words, for operators only: it may name keys and addresses.
    pub reason: String,
}

impl History {
    /// Records an answer at a stage.
    pub fn record_answer(&self, reached: Reached, now: Timestamp) {
        let mut recent = self.lock();
        recent.answered = Some(now);
        recent.was_greeted |= reached >= Reached::Hello;
        recent.failing = recent.failing.filter(|failing| failing.reached > reached);
    }

    /// Records that the peer was reached, and answered nothing of use.
    pub fn record_contact(&self) {
        let mut recent = self.lock();
        recent.failing = recent.failing.filter(|failing| failing.reached > Reached::Connection);
    }

    /// Records a failure that counts against the peer.
    pub fn record_failure(&self, reached: Reached, cause: Cause, reason: String, now: Timestamp) {
        let mut recent = self.lock();
        let failing = recent.failing.get_or_insert(Failing { since: now, failures: 0, reached });
        failing.failures += 1;
        failing.reached = failing.reached.max(reached);
        recent.last_error = Some(LastError { at: now, cause, reason });
    }

    /// Records an error that does not count against the peer.
    pub fn record_error(&self, cause: Cause, reason: String, now: Timestamp) {
        self.lock().last_error = Some(LastError { at: now, cause, reason });
    }

    /// Returns the last answers and failures.
    pub fn recent(&self) -> Recent {
        self.lock().clone()
    }

    /// Returns the cause of the last failure if the peer fails at present.
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
