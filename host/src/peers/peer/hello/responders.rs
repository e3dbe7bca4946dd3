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
pub(in crate::peers) struct Responders {
    state: Mutex<RespondersState>,
    made: Instant,
    /// The end of the time for which the URL counts as this process, in milliseconds since `made`; 0 if it does not.
    itself_until_ms: AtomicU64,
}

#[derive(Debug, Clone, Default)]
struct RespondersState {
    /// Another process than this one has said who it is.
    was_other: bool,
    /// A host that knows no hellos has answered, which was logged.
    was_unbound: bool,
    last: Option<(Timestamp, Responder)>,
}

/// The last host that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Responder {
    /// This process of this host.
    Host(By),
    /// A host that does not say who it is.
    Unbound,
    /// This process.
    Itself,
}

/// The answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peers) struct HelloAnswer {
    /// The process that it names, if it names one.
    pub(in crate::peers) by: Option<By>,
    /// The hello arrived at the listener of this process.
    pub(in crate::peers) arrived_here: bool,
}

/// The reason why the host that answered is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::peers) enum ResponderError {
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
pub(in crate::peers) enum Acceptance {
    /// Calls go there.
    Call(Receiver),
    /// The URL leads back to this process.
    Itself,
}

impl Default for Responders {
    fn default() -> Self {
        Self { state: Mutex::default(), made: Instant::now(), itself_until_ms: AtomicU64::new(0) }
    }
}

impl Responders {
    /// Records an answer to a hello, and decides what follows from it.
    pub(in crate::peers) fn record(
        &self,
        answer: &HelloAnswer,
        own: &Identity,
        binding: &Binding,
    ) -> Result<(Acceptance, News), ResponderError> {
        let mut state = self.state();
        let acceptance = accept(&state, answer, own, binding);
        if !matches!(acceptance, Ok(Acceptance::Itself)) {
            self.itself_until_ms.store(0, Ordering::Relaxed);
        }
        let (responder, acceptance) = match acceptance? {
            Acceptance::Itself => {
                let until = milliseconds(self.made.elapsed() + ITSELF_FOR);
                self.itself_until_ms.store(until, Ordering::Relaxed);
                (Responder::Itself, Acceptance::Itself)
            }
            call @ Acceptance::Call(_) => match &answer.by {
                Some(by) => (Responder::Host(by.clone()), call),
                None => (Responder::Unbound, call),
            },
        };
        let news = match &responder {
            Responder::Itself => News(!matches!(state.last, Some((_, Responder::Itself)))),
            Responder::Unbound => News(!std::mem::replace(&mut state.was_unbound, true)),
            Responder::Host(_) => {
                state.was_other = true;
                News(!matches!(&state.last, Some((_, before)) if *before == responder))
            }
        };
        state.last = Some((Timestamp::now(), responder));
        Ok((acceptance, news))
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
    pub(in crate::peers) fn last(&self) -> Option<(Timestamp, Responder)> {
        self.state().last.clone()
    }

    fn state(&self) -> MutexGuard<'_, RespondersState> {
        self.state.lock()
    }
}

/// True if the answer differs from the last one, which is worth a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peers) struct News(pub(in crate::peers) bool);

fn accept(
    state: &RespondersState,
    HelloAnswer { by, arrived_here }: &HelloAnswer,
    own: &Identity,
    binding: &Binding,
) -> Result<Acceptance, ResponderError> {
    let Some(by) = by else {
        return match &binding.host_id {
            Some(pinned) => Err(ResponderError::Unpinned(pinned.clone())),
            None if binding.require => Err(ResponderError::Unbound),
            None if state.was_other => Err(ResponderError::NoLongerBound),
            None => Ok(Acceptance::Call(Receiver::Any)),
        };
    };
    if let Some(pinned) = binding.host_id.as_ref().filter(|pinned| **pinned != by.host_id) {
        return Err(ResponderError::Pinned { pinned: pinned.clone(), found: by.host_id.clone() });
    }
    if by.instance == own.instance() {
        return match (arrived_here, state.was_other) {
            (false, _) => Err(ResponderError::Forged),
            (true, true) => Err(ResponderError::ReturnsHome),
            (true, false) => Ok(Acceptance::Itself),
        };
    }
    if by.host_id == *own.host_id() {
        return Err(ResponderError::SameId(by.host_id.clone()));
    }
    Ok(Acceptance::Call(if binding.bind { Receiver::Bound(by.clone()) } else { Receiver::Any }))
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

    fn told(by: By) -> HelloAnswer {
        HelloAnswer { by: Some(by), arrived_here: false }
    }

    const UNBOUND: HelloAnswer = HelloAnswer { by: None, arrived_here: false };

    #[test]
    fn a_host_that_says_who_it_is_gets_frames_that_name_it() {
        let (own, responders) = (own(), Responders::default());
        let b = by("host-b", InstanceId::random());
        let responder = responders.record(&told(b.clone()), &own, &Binding::default());
        assert_eq!(responder, Ok((Acceptance::Call(Receiver::Bound(b.clone())), News(true))));
        let again = responders.record(&told(b.clone()), &own, &Binding::default());
        assert_eq!(again, Ok((Acceptance::Call(Receiver::Bound(b.clone())), News(false))));
        let loose = Binding { bind: false, ..Binding::default() };
        assert_eq!(
            responders.record(&told(b), &own, &loose),
            Ok((Acceptance::Call(Receiver::Any), News(false)))
        );
    }

    #[test]
    fn a_url_that_was_bound_is_not_used_unbound_again() {
        let (own, responders, any) = (own(), Responders::default(), Binding::default());
        assert_eq!(
            responders.record(&UNBOUND, &own, &any),
            Ok((Acceptance::Call(Receiver::Any), News(true)))
        );
        assert_eq!(
            responders.record(&UNBOUND, &own, &any),
            Ok((Acceptance::Call(Receiver::Any), News(false)))
        );
        responders.record(&told(by("host-b", InstanceId::random())), &own, &any).unwrap();
        assert_eq!(responders.record(&UNBOUND, &own, &any), Err(ResponderError::NoLongerBound));
        let required = Binding { require: true, ..Binding::default() };
        assert_eq!(Responders::default().record(&UNBOUND, &own, &required), Err(ResponderError::Unbound));
    }

    #[test]
    fn a_pinned_url_is_used_for_that_host_alone() {
        let (own, responders) = (own(), Responders::default());
        let pinned = Binding { host_id: Some("host-b".into()), ..Binding::default() };
        let b = by("host-b", InstanceId::random());
        assert!(responders.record(&told(b), &own, &pinned).is_ok());
        let c = responders.record(&told(by("host-c", InstanceId::random())), &own, &pinned);
        assert_eq!(c, Err(ResponderError::Pinned { pinned: "host-b".into(), found: "host-c".into() }));
        let unbound = Responders::default().record(&UNBOUND, &own, &pinned);
        assert_eq!(unbound, Err(ResponderError::Unpinned("host-b".into())));
        let home = HelloAnswer { by: Some(by("host-a", own.instance())), arrived_here: true };
        assert!(matches!(
            Responders::default().record(&home, &own, &pinned),
            Err(ResponderError::Pinned { .. })
        ));
    }

    #[test]
    fn itself_is_what_the_listener_of_this_process_has_received() {
        let (own, any) = (own(), Binding::default());
        let mine = by("host-a", own.instance());
        let (responders, home) =
            (Responders::default(), HelloAnswer { by: Some(mine.clone()), arrived_here: true });
        assert!(!responders.is_itself());
        assert_eq!(responders.record(&home, &own, &any), Ok((Acceptance::Itself, News(true))));
        assert_eq!(responders.record(&home, &own, &any), Ok((Acceptance::Itself, News(false))));
        assert!(responders.is_itself());
        assert_eq!(responders.record(&told(mine), &own, &any), Err(ResponderError::Forged));
        assert!(!responders.is_itself(), "a forged answer ends it");
        responders.record(&home, &own, &any).unwrap();
        responders.doubt();
        assert!(!responders.is_itself());
        let other = by("host-b", InstanceId::random());
        responders.record(&told(other), &own, &any).unwrap();
        assert_eq!(responders.record(&home, &own, &any), Err(ResponderError::ReturnsHome));
        assert!(!responders.is_itself());
        let same = responders.record(&told(by("host-a", InstanceId::random())), &own, &any);
        assert_eq!(same, Err(ResponderError::SameId("host-a".into())));
    }
}
