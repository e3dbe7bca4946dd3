//! What a peer offers, and what it may be asked besides calls.

use std::sync::Arc;
use std::time::Instant;

use super::{Client, Destination, Peer};
use crate::base::{FunctionName, HostId};
use crate::config::{FUNCTIONS_PATH, PeerUrl, READY_PATH};
use crate::peers::client::{Got, SendError};
use crate::peers::{Catalogue, Cause, Known, Moment, Offered, Step};

/// What the config allows to ask a peer besides calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowed {
    /// For calls, and so for who it is.
    pub calls: bool,
    /// For its catalogue.
    pub functions: bool,
    /// Whether it is ready.
    pub ready: bool,
}

/// The same, with where that is.
pub(in super::super) struct Reach {
    pub(in super::super) calls: bool,
    pub(in super::super) functions: bool,
    pub(in super::super) functions_at: Destination,
    pub(in super::super) ready: bool,
    pub(in super::super) ready_at: Destination,
}

impl Reach {
    pub(super) fn new(allowed: Allowed, client: &Client, url: &PeerUrl) -> Self {
        Self {
            calls: allowed.calls,
            functions: allowed.functions,
            functions_at: client.destination(url.uri(FUNCTIONS_PATH)),
            ready: allowed.ready,
            ready_at: client.destination(url.uri(READY_PATH)),
        }
    }
}

impl Peer {
    /// What is known of it besides its calls.
    #[must_use]
    pub fn known(&self) -> &Arc<Known> {
        &self.known
    }

    /// What it may be asked besides calls.
    #[must_use]
    pub fn allowed(&self) -> Allowed {
        Allowed { calls: self.reach.calls, functions: self.reach.functions, ready: self.reach.ready }
    }

    pub(in super::super) fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(in super::super) fn client(&self) -> &Client {
        &self.client
    }

    /// What it offers: nothing if it must not be asked, has not answered yet, or is this very host.
    #[must_use]
    pub fn offers(&self) -> Option<Arc<Catalogue>> {
        if self.reach.functions && !self.is_itself() { self.known.catalogue() } else { None }
    }

    /// What it says of a function that it offers.
    #[must_use]
    pub fn offered(&self, name: &FunctionName) -> Option<Arc<Offered>> {
        self.look_up(|catalogue| catalogue.find(name).cloned())
    }

    /// What its catalogue says where it does not have a function, in words that follow others; empty where it has it, or
    /// where no catalogue is known.
    #[must_use]
    pub fn describe_lack(&self, name: &FunctionName) -> String {
        let lacks = self.look_up(|catalogue| (!catalogue.lists(name)).then_some(()));
        let fetched = self.known.notes().fetched.filter(|_| lacks.is_some());
        fetched
            .map(|moment| format!("; its catalogue, fetched {}, does not list the function", moment.ago()))
            .unwrap_or_default()
    }

    /// Whether it offers a function to a call that has been on these hosts: to one of them, the call does not go back.
    #[must_use]
    pub fn offers_to(&self, name: &FunctionName, hops: &[HostId]) -> bool {
        let new = |catalogue: &Catalogue| catalogue.host_id.as_ref().is_none_or(|id| !hops.contains(id));
        self.look_up(|catalogue| catalogue.find(name).filter(|_| new(catalogue)).map(|_| ())).is_some()
    }

    /// Whether it says that a function may run twice, so that nobody on the way can have said it: a catalogue is not
    /// sealed, as calls are.
    #[must_use]
    pub fn says_idempotent(&self, name: &FunctionName) -> bool {
        let is_authentic = self.url.is_https() || self.url.is_loopback();
        is_authentic && self.offered(name).is_some_and(|offered| offered.idempotent)
    }

    fn look_up<T>(&self, look: impl FnOnce(&Catalogue) -> Option<T>) -> Option<T> {
        if self.reach.functions && !self.is_itself() { self.known.with_catalogue(look) } else { None }
    }

    /// It answered that it does not have the function.
    pub(crate) fn lacks(&self, name: &FunctionName) {
        self.known.lacks(name);
    }

    /// It says of itself that it is ready.
    pub(in super::super) fn says_ready(&self) {
        self.health.says_ready(Instant::now());
    }

    /// Notes what asking it for something else than a call shows of it.
    pub(in super::super) fn note_contact(&self, got: &Option<Result<Got, SendError>>) {
        match got {
            Some(Ok(_)) => self.history.reached(),
            Some(Err(
                error @ (SendError::NotConnected(_)
                | SendError::Refused(_)
                | SendError::CertificateRefused(_)),
            )) => {
                let (cause, text) = (Cause::of_send(error), error.to_string());
                self.history.failed(Step::Connection, cause, text, Moment::now());
            }
            // It may be slow at this, and fast at calls.
            Some(Err(_)) | None => {}
        }
    }
}
