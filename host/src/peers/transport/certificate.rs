//! Keeps connections to https peers from being used after the certificate that the peer showed has expired.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ClientConnection;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::base::good_until;
use crate::config::PeerTls;

/// The time in seconds for which a certificate is checked ahead, and so not checked again.
const LOOK_AHEAD_S: u64 = 600;

/// The certificate chain that a peer showed.
pub(super) struct PeerCertificate {
    verifier: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
    chain: Vec<CertificateDer<'static>>,
    /// The Unix second up to which it was found good.
    good_until_s: AtomicU64,
}

impl PeerCertificate {
    /// Returns the certificate of the peer of that name from the handshake of `connection`.
    pub(super) fn new(tls: &PeerTls, name: ServerName<'static>, connection: &ClientConnection) -> Self {
        let shown = connection.peer_certificates().unwrap_or_default();
        Self {
            verifier: Arc::clone(&tls.server_verifier),
            name,
            chain: shown.iter().map(|certificate| certificate.clone().into_owned()).collect(),
            good_until_s: AtomicU64::new(0),
        }
    }

    /// Returns true if a new handshake would succeed. Called before each request, and cheap unless time has passed.
    pub(super) fn is_good(&self) -> bool {
        let time_s = UnixTime::now().as_secs();
        if time_s <= self.good_until_s.load(Ordering::Relaxed) {
            return true;
        }
        let Some((own, others)) = self.chain.split_first() else { return false };
        let found = good_until(time_s, LOOK_AHEAD_S, |time_s| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(time_s));
            self.verifier.verify_server_cert(own, others, &self.name, &[], time).is_ok()
        });
        self.good_until_s.store(found.unwrap_or_default(), Ordering::Relaxed);
        found.is_some()
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate").field("name", &self.name).finish_non_exhaustive()
    }
}
