//! The identity of a process among hosts: the id of its host, and an instance that no other process has.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Hex;
use super::lock::{Mutex, MutexGuard};
use super::{HostId, RequestId};

/// 16 random bytes of one process: a new one at every start.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceId(pub [u8; 16]);

impl InstanceId {
    /// A new one.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads what [`InstanceId`] displays: 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(&self.0))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceId({self})")
    }
}

/// This process, as other hosts know it, with the hellos that it has sent and not yet seen answered.
///
/// The hellos prove that a URL leads back to this process: the request id of a hello is random and sealed, so one that
/// the listener of this process has opened did arrive here, even if its answer claims otherwise.
pub struct Identity {
    host_id: HostId,
    instance: InstanceId,
    predecessors: Vec<InstanceId>,
    took_over: Instant,
    /// The hellos under way, each with true once the listener of this process has opened it.
    hellos: Mutex<HashMap<RequestId, bool>>,
    /// Told when a URL turned out to lead back to this process.
    on_home: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Identity {
    /// A new process of that host, without predecessors.
    pub fn new(host_id: HostId) -> Self {
        Self::succeeding(host_id, InstanceId::random(), Vec::new())
    }

    /// A process that takes over now from `predecessors`, which have ended.
    pub fn succeeding(host_id: HostId, instance: InstanceId, predecessors: Vec<InstanceId>) -> Self {
        let (hellos, on_home) = (Mutex::default(), OnceLock::new());
        Self { host_id, instance, predecessors, took_over: Instant::now(), hellos, on_home }
    }

    /// Returns the time since this process took over from `instance`, which had ended by then; `None` if it is not a
    /// predecessor.
    pub fn took_over_from(&self, instance: InstanceId) -> Option<Duration> {
        self.predecessors.contains(&instance).then(|| self.took_over.elapsed())
    }

    /// The id of this host.
    pub fn host_id(&self) -> &HostId {
        &self.host_id
    }

    /// The instance of this process.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Sets who is told when a URL turned out to lead back to this process; the first one stays.
    pub fn on_home(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.on_home.get_or_init(|| Box::new(tell));
    }

    /// Says that a URL turned out to lead back to this process.
    pub fn tell_home(&self) {
        self.on_home.get().into_iter().for_each(|tell| tell());
    }

    /// Notes that a hello is about to be sent.
    pub fn hello(&self, id: RequestId) -> SentHello<'_> {
        self.hellos().insert(id, false);
        SentHello { identity: self, id }
    }

    /// Notes that the listener of this process has opened a hello.
    pub fn opened(&self, id: RequestId) {
        if let Some(has_arrived) = self.hellos().get_mut(&id) {
            *has_arrived = true;
        }
    }

    fn hellos(&self) -> MutexGuard<'_, HashMap<RequestId, bool>> {
        self.hellos.lock()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("host_id", &self.host_id)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// A hello under way; forgotten when it is dropped.
#[derive(Debug)]
pub struct SentHello<'a> {
    identity: &'a Identity,
    id: RequestId,
}

impl SentHello<'_> {
    /// Returns true if the hello has arrived at the listener of this process.
    pub fn has_arrived_here(&self) -> bool {
        self.identity.hellos().get(&self.id).copied().unwrap_or_default()
    }
}

impl Drop for SentHello<'_> {
    fn drop(&mut self) {
        self.identity.hellos().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hellos_that_this_process_sent_and_opened_have_arrived_here() {
        let identity = Identity::new("host-a".into());
        let (ours, theirs) = (RequestId::random(), RequestId::random());
        identity.opened(ours);
        let sent = identity.hello(ours);
        assert!(!sent.has_arrived_here(), "it was opened before it was sent");
        identity.opened(theirs);
        assert!(!sent.has_arrived_here(), "another one was opened");
        identity.opened(ours);
        assert!(sent.has_arrived_here());
        drop(sent);
        assert!(identity.hellos().is_empty());
    }

    #[test]
    fn instances_differ_and_are_shown_whole() {
        assert_ne!(Identity::new("a".into()).instance(), Identity::new("a".into()).instance());
        assert_eq!(InstanceId([0xab; 16]).to_string(), "ab".repeat(16));
        let instance = InstanceId::random();
        assert_eq!(InstanceId::parse(&instance.to_string()), Some(instance));
        for text in ["", "0", &"+".repeat(32), &"g".repeat(32), &"0".repeat(33)] {
            assert_eq!(InstanceId::parse(text), None, "{text}");
        }
    }
}
