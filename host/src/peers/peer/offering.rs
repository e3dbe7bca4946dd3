//! The functions that a peer offers, and the requests besides calls.

use std::sync::Arc;
use std::time::Instant;

use super::probes::ProbeTargets;
use super::{Peer, PeerInfo};
use crate::base::{FunctionName, HostId};
use crate::peers::transport::{GetResponse, SendError};
use crate::peers::{Catalogue, Cause, Offered, Reached, Timestamp};

impl Peer {
    /// The knowledge of it besides its calls.
    pub fn info(&self) -> &Arc<PeerInfo> {
        &self.info
    }

    pub(in crate::peers) fn targets(&self) -> &ProbeTargets {
        &self.targets
    }

    /// Returns its catalogue; nothing if it must not be asked for it, has not answered yet, or is this very host.
    pub fn offers(&self) -> Option<Arc<Catalogue>> {
        if self.spec.probes.catalogue && !self.is_itself() { self.info.catalogue() } else { None }
    }

    /// Returns the description of a function that it offers.
    pub fn offered(&self, name: &FunctionName) -> Option<Arc<Offered>> {
        self.look_up(|catalogue| catalogue.find(name).cloned())
    }

    /// Describes that its catalogue does not list a function, in words that follow others; empty if it does, or if
    /// there is no catalogue.
    pub fn describe_lack(&self, name: &FunctionName) -> String {
        let lacks = self.look_up(|catalogue| (!catalogue.lists(name)).then_some(()));
        let fetched = self.info.last_checks().fetched.filter(|_| lacks.is_some());
        fetched
            .map(|moment| format!("; its catalogue, fetched {}, does not list the function", moment.ago()))
            .unwrap_or_default()
    }

    /// Returns true if it offers a function to a call that came through these hosts: the call does not go back to one
    /// of them.
    pub fn offers_to(&self, name: &FunctionName, hops: &[HostId]) -> bool {
        let new = |catalogue: &Catalogue| catalogue.host_id.as_ref().is_none_or(|id| !hops.contains(id));
        self.look_up(|catalogue| catalogue.find(name).filter(|_| new(catalogue)).map(|_| ())).is_some()
    }

    /// Returns true if it says that a function may run twice, and no host on the way can have said so instead:
    /// catalogues are not sealed.
    pub fn says_idempotent(&self, name: &FunctionName) -> bool {
        self.spec.is_proven_way() && self.offered(name).is_some_and(|offered| offered.idempotent)
    }

    fn look_up<T>(&self, look: impl FnOnce(&Catalogue) -> Option<T>) -> Option<T> {
        if self.spec.probes.catalogue && !self.is_itself() { self.info.with_catalogue(look) } else { None }
    }

    /// Records that it answered that it lacks the function.
    pub(crate) fn lacks(&self, name: &FunctionName) {
        self.info.lacks(name);
    }

    /// Makes its open breaker half-open, since it says that it is ready.
    pub(in crate::peers) fn half_open(&self) {
        self.breaker.half_open(Instant::now());
    }

    /// Records what a request besides a call shows of it.
    pub(in crate::peers) fn note_contact(&self, got: &Option<Result<GetResponse, SendError>>) {
        match got {
            Some(Ok(_)) => self.history.record_contact(),
            Some(Err(
                error @ (SendError::NotConnected(_)
                | SendError::Refused(_)
                | SendError::CertificateRefused(_)),
            )) => {
                let (cause, text) = (Cause::of_send(error), error.to_string());
                self.history.record_failure(Reached::Connection, cause, text, Timestamp::now());
            }
            // A slow answer here says nothing of calls.
            Some(Err(_)) | None => {}
        }
    }
}
