//! Requests: what their heads ask for, who sent them, and their bodies.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;

use super::limits::{Connections, InFlight};
use super::tls::ClientCertificate;
use crate::base::CertificateName;

pub(crate) mod accept;
pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod head;
pub(crate) mod site;

/// The connection that a request came over.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// The other end.
    pub address: SocketAddr,
    /// The client certificate of the TLS handshake; none on a plain connection.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// All connections of the listener; some of them may be evicted for this one.
    pub(crate) connections: Arc<Connections>,
}

impl ConnectionInfo {
    /// Returns the name in the client's certificate, which an authority of `server.tls.client_ca` has signed.
    pub(crate) fn certificate_name(&self) -> Option<&CertificateName> {
        self.certificate.as_ref().and_then(|certificate| certificate.name())
    }

    /// Returns true if a new handshake with the same certificate would succeed: it has not expired, and its authority is
    /// still trusted.
    pub(crate) fn is_good(&self) -> bool {
        self.certificate.as_ref().is_none_or(|certificate| certificate.is_good())
    }
}

/// A request whose head has been taken.
#[derive(Debug)]
pub(crate) struct Inbound<'a> {
    pub(crate) body: &'a mut Incoming,
    pub(crate) in_flight: &'a InFlight,
    pub(crate) from: &'a ConnectionInfo,
}
