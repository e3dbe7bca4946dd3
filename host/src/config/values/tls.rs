//! The TLS of the public listener and of calls to peers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, ServerConfig};

/// `[server.tls]`: the certificate of the public listener.
#[derive(Clone)]
pub struct ServerTls {
    /// The chain, which begins with the listener's own certificate; absolute.
    pub cert: PathBuf,
    /// The private key of the first; absolute.
    pub key: PathBuf,
    /// The authorities that sign certificates of clients; without them, clients need none.
    pub client_ca: Option<PathBuf>,
    /// The configuration of handshakes.
    pub rustls: Arc<ServerConfig>,
    /// The verifier of client certificates, if `client_ca` asks for them.
    pub client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// The reason for which all clients refuse the certificate, as of when the file was read.
    pub(in crate::config) fault: Option<String>,
    pub(in crate::config) key_is_open: bool,
    pub(in crate::config) digest: [u8; 32],
}

/// `[plugins.proxy.tls]`: the authorities that certify `https://` peers, and the certificate of this host.
#[derive(Clone)]
pub struct PeerTls {
    /// The authorities that sign certificates of peers; `None` for the authorities of the system.
    pub ca: Option<PathBuf>,
    /// Certificate chain and private key for peers that ask for them.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The configuration of handshakes.
    pub rustls: Arc<ClientConfig>,
    /// The verifier of peers' certificates.
    pub server_verifier: Arc<WebPkiServerVerifier>,
    pub(in crate::config) key_is_open: bool,
    pub(in crate::config) digest: [u8; 32],
}

impl ServerTls {
    pub(in crate::config) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cert, &self.key].into_iter().chain(&self.client_ca)
    }

    /// Returns the private key, if every user of the machine may read it.
    pub(in crate::config) fn open_key(&self) -> Option<&Path> {
        self.key_is_open.then_some(&self.key)
    }
}

impl PeerTls {
    pub(in crate::config) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.ca.iter().chain(self.identity.iter().flat_map(|(cert, key)| [cert, key]))
    }

    /// Returns the private key, if every user of the machine may read it.
    pub(in crate::config) fn open_key(&self) -> Option<&Path> {
        self.identity.as_ref().filter(|_| self.key_is_open).map(|(_, key)| key.as_path())
    }
}

/// Equal if the files have the same content.
impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// Equal if the files have the same content.
impl PartialEq for PeerTls {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.files()).finish()
    }
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.files()).finish()
    }
}
