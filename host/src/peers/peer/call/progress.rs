//! How far an attempt at a call is: pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::{HostId, Mutex};
use crate::peers::peer::hello::Receiver;

/// How far an attempt is: who waits for it and the attempt itself agree on that, whatever happens at once.
#[derive(Debug, Default)]
pub(super) struct Progress {
    step: AtomicU8,
    /// The only host that the call may be sent to.
    only: Option<HostId>,
    /// The host that it was sent to last, if it has an idempotency key.
    sent_to: Mutex<Option<HostId>>,
}

const BEFORE: u8 = 0;
const SENT: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Progress {
    /// A call that has not begun, for that host alone or for any.
    pub(super) fn to(only: Option<&HostId>) -> Self {
        Self { only: only.cloned(), ..Self::default() }
    }

    /// The host that a call with an idempotency key was sent to last, where its frame named one.
    pub(super) fn sent_to(&self) -> Option<HostId> {
        self.sent_to.lock().clone()
    }

    /// Returns true if the call may go to the host at the other end.
    pub(super) fn may_go_to(&self, receiver: &Receiver) -> bool {
        self.only.as_deref().is_none_or(|only| receiver.host_id() == Some(only))
    }

    /// LastChecks where the call goes: of what was sent before, it is known that it did not run.
    pub(super) fn note(&self, receiver: &Receiver) {
        let host = match receiver {
            Receiver::Bound(by) => Some(Arc::clone(&by.host_id)),
            Receiver::Any => None,
        };
        *self.sent_to.lock() = host;
    }

    /// The call is about to be sent; `false` if it was given up.
    pub(super) fn send(&self) -> bool {
        self.step.compare_exchange(BEFORE, SENT, Ordering::AcqRel, Ordering::Acquire) != Err(GIVEN_UP)
    }

    /// The call is given up; `false` if it may have been sent.
    pub(super) fn give_up(&self) -> bool {
        self.step.swap(GIVEN_UP, Ordering::AcqRel) != SENT
    }

    /// Returns true if the call was sent and somebody still waits for its answer.
    pub(super) fn is_awaited(&self) -> bool {
        self.step.load(Ordering::Acquire) == SENT
    }

    /// What was sent has provably not run, and is about to be sent again, unless it was given up.
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
        let progress = Progress::default();
        assert!(progress.send());
        progress.begin_again();
        assert!(progress.send());
        assert!(!progress.give_up(), "it may have been sent");
        progress.begin_again();
        assert!(!progress.send());
        let unsent = Progress::default();
        assert!(unsent.give_up() && !unsent.send());
    }

    #[test]
    fn a_repeat_belongs_to_the_host_that_the_call_was_sent_to_last() {
        let progress = Progress::default();
        progress.note(&bound("closed-before-it-was-sent"));
        progress.note(&bound("host-b"));
        assert_eq!(progress.sent_to().as_deref(), Some("host-b"));
        let again = Progress::to(progress.sent_to().as_ref());
        assert!(again.may_go_to(&bound("host-b")) && !again.may_go_to(&bound("host-c")));
        assert!(!again.may_go_to(&Receiver::Any));
    }
}
