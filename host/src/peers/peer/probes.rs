//! The requests besides calls: which of them are allowed, and where they go.

use crate::api::{FUNCTIONS_PATH, READY_PATH};
use crate::config::PeerUrl;
use crate::peers::Client;
use crate::peers::transport::Destination;

/// The requests besides calls that the config allows to make of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probes {
    /// Hellos, which show who answers, as calls do.
    pub hello: bool,
    /// Requests for its catalogue.
    pub catalogue: bool,
    /// Requests whether it is ready.
    pub readiness: bool,
}

/// The destinations of those requests.
pub(in crate::peers) struct ProbeTargets {
    pub(in crate::peers) catalogue: Destination,
    pub(in crate::peers) readiness: Destination,
}

impl ProbeTargets {
    pub(super) fn new(client: &Client, url: &PeerUrl) -> Self {
        Self {
            catalogue: client.destination(url.uri(FUNCTIONS_PATH)),
            readiness: client.destination(url.uri(READY_PATH)),
        }
    }
}
