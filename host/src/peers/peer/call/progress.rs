//! The progress of an attempt at a call. Pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::{HostId, Mutex};
use crate::peers::peer::hello::Receiver;

/// The progress of an attempt, on which the attempt and the call that waits for it agree at any moment.
#[derive(Debug, Default)]
pub(super) struct AttemptProgress {
    step: AtomicU8,
    /// The only host that the call may be sent to; nothing for any.
    only: Option<HostId>,
    /// The last host that it was sent to, if it has an idempotency key.
    sent_to: Mutex<Option<HostId>>,
}

const BEFORE: u8 = 0;
const SENT: u8 = 1;
const GIVEN_UP: u8 = 2;

impl AttemptProgress {
    /// Returns the progress of a call that has not begun, for one host or for any.
    pub(super) fn to(only: Option<&HostId>) -> Self {
        Self { only: only.cloned(), ..Self::default() }
    }

    /// Returns the last host that a call with an idempotency key was sent to, if its frame named one.
    pub(super) fn sent_to(&self) -> Option<HostId> {
        self.sent_to.lock().clone()
    }

    /// Returns true if the call may go to the host at the other end.
    pub(super) fn may_go_to(&self, receiver: &Receiver) -> bool {
        self.only.as_deref().is_none_or(|only| receiver.host_id() == Some(only))
    }

    /// Records the host that the call goes to. The host before provably did not run it.
    pub(super) fn note(&self, receiver: &Receiver) {
        let host = match receiver {
            Receiver::Bound(by) => Some(Arc::clone(&by.host_id)),
            Receiver::Any => None,
        };
        *self.sent_to.lock() = host;
    }

    /// Marks the call as sent; returns false if it was given up.
    pub(super) fn send(&self) -> bool {
        self.step.compare_exchange(BEFORE, SENT, Ordering::AcqRel, Ordering::Acquire) != Err(GIVEN_UP)
    }

    /// Gives the call up; returns false if it may have been sent.
    pub(super) fn give_up(&self) -> bool {
        self.step.swap(GIVEN_UP, Ordering::AcqRel) != SENT
    }

    /// Returns true if the call was sent and its answer is still awaited.
    pub(super) fn is_awaited(&self) -> bool {
        self.step.load(Ordering::Acquire) == SENT
    }

    /// Marks a sent call that provably did not run as unsent, unless it was given up.
    pub(super) fn begin_again(&self) {
        let _given_up = self.step.compare_exchange(SENT, BEFORE, Ordering::AcqRel, Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::InstanceId;
    use crate::wire::By;

    fn bound(host: &str) -> Receiver {
        Receiver::Bound(By { host_id: host.into(), instance: InstanceId([1; 16]) })
    }

    #[test]
    fn a_call_that_was_given_up_is_never_sent_again() {
        let progress = AttemptProgress::default();
        assert!(progress.send());
        progress.begin_again();
        assert!(progress.send());
        assert!(!progress.give_up(), "it may have been sent");
        progress.begin_again();
        assert!(!progress.send());
        let unsent = AttemptProgress::default();
        assert!(unsent.give_up() && !unsent.send());
    }

    #[test]
    fn a_repeat_belongs_to_the_host_that_the_call_was_sent_to_last() {
        let progress = AttemptProgress::default();
        progress.note(&bound("closed-before-it-was-sent"));
        progress.note(&bound("host-b"));
        assert_eq!(progress.sent_to().as_deref(), Some("host-b"));
        let again = AttemptProgress::to(progress.sent_to().as_ref());
        assert!(again.may_go_to(&bound("host-b")) && !again.may_go_to(&bound("host-c")));
        assert!(!again.may_go_to(&Receiver::Any));
    }
}
