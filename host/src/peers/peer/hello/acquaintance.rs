//! The hosts that answered at a URL, as far as hellos have shown (WIRE.md, "Who may open a frame").

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::receiver::Receiver;
use crate::base::{HostId, Identity, Mutex, MutexGuard, milliseconds};
use crate::peers::Timestamp;
use crate::wire::By;

/// The time for which a proof counts that a URL leads back to this process. [`crate::peers::Monitor`] repeats it within
/// that time.
const ITSELF_FOR: Duration = Duration::from_secs(3);

/// The requirements of the config on hosts that answer at a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Frames name their receiver (`bind`).
    pub bind: bool,
    /// A host that knows no hellos is not called (`plugins.proxy.require_receiver`).
    pub require: bool,
    /// The only host that may answer (`host_id`).
    pub host_id: Option<HostId>,
}

impl Default for Binding {
    fn default() -> Self {
        Self { bind: true, require: false, host_id: None }
    }
}

/// The hosts that have answered at one URL.
#[derive(Debug)]
pub(in crate::peers) struct Acquaintance {
    state: Mutex<State>,
    made: Instant,
    /// The end of the time for which the URL counts as this process, in milliseconds since `made`; 0 if it does not.
    itself_until_ms: AtomicU64,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// Another process than this one has said who it is.
    was_other: bool,
    /// A host that knows no hellos has answered, which was logged.
    was_unbound: bool,
    last: Option<(Timestamp, Met)>,
}

/// The last host that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// This process of this host.
    Host(By),
    /// A host that does not say who it is.
    Unbound,
    /// This process.
    Itself,
}

/// The answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peers) struct Introduced {
    /// The process that it names, if it names one.
    pub(in crate::peers) by: Option<By>,
    /// The hello arrived at the listener of this process.
    pub(in crate::peers) arrived_here: bool,
}

/// The reason why the host that answered is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::peers) enum Unwelcome {
    #[error("it does not say who it is, though a host at this URL did before")]
    NoLongerBound,
    #[error("it does not say who it is, which `plugins.proxy.require_receiver` demands: update that host")]
    Unbound,
    #[error("it does not say who it is, and the URL is pinned to host `{0}`: update that host")]
    Unpinned(HostId),
    #[error("it is host `{found}`, and the URL is pinned to host `{pinned}` (`host_id`)")]
    Pinned { pinned: HostId, found: HostId },
    #[error("it claims to be this very process, which has not received the hello")]
    Forged,
    #[error(
        "it is this very host now, and was another one before: it does not count as this host until a restart"
    )]
    ReturnsHome,
    #[error("two hosts have the id `{0}`: give one of them another host_id")]
    SameId(HostId),
}

/// The consequence of a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peers) enum Welcome {
    /// Calls go there.
    Call(Receiver),
    /// The URL leads back to this process.
    Itself,
}

impl Default for Acquaintance {
    fn default() -> Self {
        Self { state: Mutex::default(), made: Instant::now(), itself_until_ms: AtomicU64::new(0) }
    }
}

impl Acquaintance {
    /// Records an answer to a hello, and decides what follows from it.
    pub(in crate::peers) fn meet(
        &self,
        introduced: &Introduced,
        own: &Identity,
        binding: &Binding,
    ) -> Result<(Welcome, News), Unwelcome> {
        let mut state = self.state();
        let welcome = judge(&state, introduced, own, binding);
        if !matches!(welcome, Ok(Welcome::Itself)) {
            self.itself_until_ms.store(0, Ordering::Relaxed);
        }
        let (met, welcome) = match welcome? {
            Welcome::Itself => {
                let until = milliseconds(self.made.elapsed() + ITSELF_FOR);
                self.itself_until_ms.store(until, Ordering::Relaxed);
                (Met::Itself, Welcome::Itself)
            }
            call @ Welcome::Call(_) => match &introduced.by {
                Some(by) => (Met::Host(by.clone()), call),
                None => (Met::Unbound, call),
            },
        };
        let news = match &met {
            Met::Itself => News(!matches!(state.last, Some((_, Met::Itself)))),
            Met::Unbound => News(!std::mem::replace(&mut state.was_unbound, true)),
            Met::Host(_) => {
                state.was_other = true;
                News(!matches!(&state.last, Some((_, before)) if *before == met))
            }
        };
        state.last = Some((Timestamp::now(), met));
        Ok((welcome, news))
    }

    /// Returns true if a hello has proven within the last seconds that the URL leads back to this process.
    pub(in crate::peers) fn is_itself(&self) -> bool {
        let until_ms = self.itself_until_ms.load(Ordering::Relaxed);
        until_ms > 0 && self.made.elapsed().as_millis() < u128::from(until_ms)
    }

    /// Makes the URL count as another host.
    pub(in crate::peers) fn doubt(&self) {
        self.itself_until_ms.store(0, Ordering::Relaxed);
    }

    /// Returns the last host that answered, and when.
    pub(in crate::peers) fn last(&self) -> Option<(Timestamp, Met)> {
        self.state().last.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// True if the answer differs from the last one, which is worth a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peers) struct News(pub(in crate::peers) bool);

fn judge(
    state: &State,
    Introduced { by, arrived_here }: &Introduced,
    own: &Identity,
    binding: &Binding,
) -> Result<Welcome, Unwelcome> {
    let Some(by) = by else {
        return match &binding.host_id {
            Some(pinned) => Err(Unwelcome::Unpinned(pinned.clone())),
            None if binding.require => Err(Unwelcome::Unbound),
            None if state.was_other => Err(Unwelcome::NoLongerBound),
            None => Ok(Welcome::Call(Receiver::Any)),
        };
    };
    if let Some(pinned) = binding.host_id.as_ref().filter(|pinned| **pinned != by.host_id) {
        return Err(Unwelcome::Pinned { pinned: pinned.clone(), found: by.host_id.clone() });
    }
    if by.instance == own.instance() {
        return match (arrived_here, state.was_other) {
            (false, _) => Err(Unwelcome::Forged),
            (true, true) => Err(Unwelcome::ReturnsHome),
            (true, false) => Ok(Welcome::Itself),
        };
    }
    if by.host_id == *own.host_id() {
        return Err(Unwelcome::SameId(by.host_id.clone()));
    }
    Ok(Welcome::Call(if binding.bind { Receiver::Bound(by.clone()) } else { Receiver::Any }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::InstanceId;

    fn own() -> Identity {
        Identity::new("host-a".into())
    }

    fn by(host_id: &str, instance: InstanceId) -> By {
        By { host_id: host_id.into(), instance }
    }

    fn told(by: By) -> Introduced {
        Introduced { by: Some(by), arrived_here: false }
    }

    const UNBOUND: Introduced = Introduced { by: None, arrived_here: false };

    #[test]
    fn a_host_that_says_who_it_is_gets_frames_that_name_it() {
        let (own, known) = (own(), Acquaintance::default());
        let b = by("host-b", InstanceId::random());
        let met = known.meet(&told(b.clone()), &own, &Binding::default());
        assert_eq!(met, Ok((Welcome::Call(Receiver::Bound(b.clone())), News(true))));
        let again = known.meet(&told(b.clone()), &own, &Binding::default());
        assert_eq!(again, Ok((Welcome::Call(Receiver::Bound(b.clone())), News(false))));
        let loose = Binding { bind: false, ..Binding::default() };
        assert_eq!(known.meet(&told(b), &own, &loose), Ok((Welcome::Call(Receiver::Any), News(false))));
    }

    #[test]
    fn a_url_that_was_bound_is_not_used_unbound_again() {
        let (own, known, any) = (own(), Acquaintance::default(), Binding::default());
        assert_eq!(known.meet(&UNBOUND, &own, &any), Ok((Welcome::Call(Receiver::Any), News(true))));
        assert_eq!(known.meet(&UNBOUND, &own, &any), Ok((Welcome::Call(Receiver::Any), News(false))));
        known.meet(&told(by("host-b", InstanceId::random())), &own, &any).unwrap();
        assert_eq!(known.meet(&UNBOUND, &own, &any), Err(Unwelcome::NoLongerBound));
        let required = Binding { require: true, ..Binding::default() };
        assert_eq!(Acquaintance::default().meet(&UNBOUND, &own, &required), Err(Unwelcome::Unbound));
    }

    #[test]
    fn a_pinned_url_is_used_for_that_host_alone() {
        let (own, known) = (own(), Acquaintance::default());
        let pinned = Binding { host_id: Some("host-b".into()), ..Binding::default() };
        let b = by("host-b", InstanceId::random());
        assert!(known.meet(&told(b), &own, &pinned).is_ok());
        let c = known.meet(&told(by("host-c", InstanceId::random())), &own, &pinned);
        assert_eq!(c, Err(Unwelcome::Pinned { pinned: "host-b".into(), found: "host-c".into() }));
        let unbound = Acquaintance::default().meet(&UNBOUND, &own, &pinned);
        assert_eq!(unbound, Err(Unwelcome::Unpinned("host-b".into())));
        let home = Introduced { by: Some(by("host-a", own.instance())), arrived_here: true };
        assert!(matches!(Acquaintance::default().meet(&home, &own, &pinned), Err(Unwelcome::Pinned { .. })));
    }

    #[test]
    fn itself_is_what_the_listener_of_this_process_has_received() {
        let (own, any) = (own(), Binding::default());
        let mine = by("host-a", own.instance());
        let (known, home) =
            (Acquaintance::default(), Introduced { by: Some(mine.clone()), arrived_here: true });
        assert!(!known.is_itself());
        assert_eq!(known.meet(&home, &own, &any), Ok((Welcome::Itself, News(true))));
        assert_eq!(known.meet(&home, &own, &any), Ok((Welcome::Itself, News(false))));
        assert!(known.is_itself());
        assert_eq!(known.meet(&told(mine), &own, &any), Err(Unwelcome::Forged));
        assert!(!known.is_itself(), "a forged answer ends it");
        known.meet(&home, &own, &any).unwrap();
        known.doubt();
        assert!(!known.is_itself());
        let other = by("host-b", InstanceId::random());
        known.meet(&told(other), &own, &any).unwrap();
        assert_eq!(known.meet(&home, &own, &any), Err(Unwelcome::ReturnsHome));
        assert!(!known.is_itself());
        let same = known.meet(&told(by("host-a", InstanceId::random())), &own, &any);
        assert_eq!(same, Err(Unwelcome::SameId("host-a".into())));
    }
}
