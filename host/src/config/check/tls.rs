//! TLS of the listener and of calls to peers: PEM files, read and checked once.
//!
//! Keys and certificates become rustls configurations here, so that errors name the key of the config, and a reload
//! with a bad file is refused before anything has changed.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

use super::validator::Validator;
use crate::config::key::KeyPath;
use crate::config::keys::{RawPeerTls, RawServerTls};
use crate::config::read::file::{self, FileBytes};
use crate::config::{PeerTls, ServerTls};

mod distrust;
mod pem;

pub use distrust::why_distrusted;

use distrust::fault_of_own;
use pem::{Fault, PemFile};

/// Longest PEM file in bytes: a bundle of all public authorities has a quarter of it.
const PEM_BYTES_MAX: usize = 1 << 20;
/// The protocols of the listener, the preferred one first (RFC 7301).
const LISTENER_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The protocols of calls to peers.
const PEER_PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

impl Validator<'_> {
    /// Checks `[server.tls]`; `None` without it, or after a problem.
    pub(super) fn server_tls(&mut self, raw: Option<RawServerTls>) -> Option<ServerTls> {
        let raw = raw?;
        let table = KeyPath::of("server.tls");
        let client_ca = raw.client_ca.map(|raw| self.pem_file(&table.child("client_ca"), &raw));
        let provider = provider();
        let identity = self.identity(&table, &raw.cert, &raw.key, &provider)?;
        let fault = fault_of_own(&identity.certified.cert, Arc::clone(&provider));
        let client_ca = client_ca.map_or(Some(None), |file| file.map(Some))?;
        let client_verifier = match &client_ca {
            None => None,
            Some(file) => {
                let roots = self.of_file(file, file.authorities())?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
                Some(self.of_file(file, verifier.map_err(unusable))?)
            }
        };
        let verifier = client_verifier.clone().unwrap_or_else(WebPkiClientVerifier::no_client_auth);
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = self.of_file(&identity.cert, builder.map_err(unusable))?;
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified)));
        let mut rustls = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
        rustls.alpn_protocols = LISTENER_PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        if client_verifier.is_some() {
            // A resumed session keeps the certificate that its first handshake showed, however long ago that expired.
            rustls.session_storage = Arc::new(NoServerSessionStorage {});
            rustls.send_tls13_tickets = 0;
        }
        let digest = digest([Some(&identity.cert), Some(&identity.key), client_ca.as_ref()]);
        Some(ServerTls {
            key_is_open: identity.key.is_open,
            fault,
            cert: identity.cert.path,
            key: identity.key.path,
            client_ca: client_ca.map(|file| file.path),
            rustls: Arc::new(rustls),
            client_verifier,
            digest,
        })
    }

    /// Checks `[plugins.proxy.tls]`; `None` if it says nothing and no peer needs it, or after a problem.
    pub(super) fn peer_tls(&mut self, raw: RawPeerTls, has_https_peers: bool) -> Option<PeerTls> {
        if !has_https_peers && raw.ca.is_none() && raw.cert.is_none() && raw.key.is_none() {
            return None;
        }
        let table = KeyPath::of("plugins.proxy.tls");
        for (one, other, half) in
            [("cert", "key", (&raw.cert, &raw.key)), ("key", "cert", (&raw.key, &raw.cert))]
        {
            if let (Some(_), None) = half {
                let fault = format!("needs `{table}.{other}`: a certificate and its private key");
                self.problem(&table.child(one), fault);
                return None;
            }
        }
        let ca = raw.ca.map(|raw| self.pem_file(&table.child("ca"), &raw));
        let provider = provider();
        let identity = match (&raw.cert, &raw.key) {
            (Some(cert), Some(key)) => Some(self.identity(&table, cert, key, &provider)?),
            _ => None,
        };
        let ca = ca.map_or(Some(None), |file| file.map(Some))?;
        let roots = match &ca {
            Some(file) => self.of_file(file, file.authorities())?,
            None => self.system_roots()?,
        };
        let key = ca.as_ref().map_or(&table, |file| &file.key);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| format!("cannot be used: {error}"));
        let server_verifier = self.good(key, verifier)?;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| format!("cannot be used: {error}"));
        let builder = self.good(key, builder)?;
        let builder = builder.with_webpki_verifier(Arc::clone(&server_verifier));
        let mut rustls = match &identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let resolver = SingleCertAndKey::from(Arc::clone(&identity.certified));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        rustls.alpn_protocols = PEER_PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        // A resumed session does not show the certificate again, which may have expired.
        rustls.resumption = Resumption::disabled();
        let (cert, key) = identity.as_ref().map(|identity| (&identity.cert, &identity.key)).unzip();
        let digest = digest([ca.as_ref(), cert, key]);
        Some(PeerTls {
            key_is_open: identity.as_ref().is_some_and(|identity| identity.key.is_open),
            ca: ca.map(|file| file.path),
            identity: identity.map(|identity| (identity.cert.path, identity.key.path)),
            rustls: Arc::new(rustls),
            server_verifier,
            digest,
        })
    }

    fn pem_file(&mut self, key: &KeyPath, raw: &str) -> Option<PemFile> {
        // A text that was pasted instead of its path may be a private key.
        if raw.contains("-----") || raw.contains(['\n', '\r']) {
            self.problem(key, "must be the path of a PEM file, found the content of one");
            return None;
        }
        let path = self.folder.join(raw);
        let read = if raw.is_empty() || raw.contains('\0') {
            Err("is not a path of a file".to_owned())
        } else {
            file::bounded(&path, PEM_BYTES_MAX).map_err(|error| error.to_string())
        };
        let read = read.map_err(|fault| format!("is file `{}`, which {fault}", path.display()));
        let FileBytes { bytes, readable_by_others } = self.good(key, read)?;
        Some(PemFile { key: key.clone(), path, bytes, is_open: readable_by_others })
    }

    /// Returns what was read of a file; a fault becomes a problem.
    fn of_file<T>(&mut self, file: &PemFile, read: Result<T, impl Display>) -> Option<T> {
        let path = file.path.display();
        self.good(&file.key, read.map_err(|fault| format!("is file `{path}`, {fault}")))
    }

    /// Reads a certificate chain and the private key of its first certificate.
    fn identity(
        &mut self,
        table: &KeyPath,
        cert: &str,
        key: &str,
        provider: &CryptoProvider,
    ) -> Option<TlsIdentity> {
        let cert = self.pem_file(&table.child("cert"), cert);
        let key = self.pem_file(&table.child("key"), key);
        let (cert, key) = (cert?, key?);
        let chain = self.of_file(&cert, cert.certificates());
        let private = self.of_file(&key, key.private_key());
        match CertifiedKey::from_der(chain?, private?, provider) {
            Ok(certified) => Some(TlsIdentity { certified: Arc::new(certified), cert, key }),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let fault = format!("which is not the key of the certificate in `{}`", cert.path.display());
                self.of_file(&key, Err(fault))
            }
            Err(rustls::Error::InvalidCertificate(_)) => {
                self.of_file(&cert, Err("whose first certificate cannot be read"))
            }
            Err(_) => {
                let fault = "whose private key is damaged or of a kind that is not supported: RSA of 2048 to 4096 bits, \
                             ECDSA on P-256 or P-384, and Ed25519 are";
                self.of_file(&key, Err(fault))
            }
        }
    }

    /// The authorities that the system trusts, looked up once.
    fn system_roots(&mut self) -> Option<Arc<RootCertStore>> {
        static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
        let roots = ROOTS.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            let (_read, _unreadable) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        });
        if roots.is_empty() {
            let fault =
                "has no `ca`, and this system has no certificate authorities to trust: https peers need some";
            let [table, peers] = ["plugins.proxy.tls", "plugins.proxy.proxy_urls"].map(KeyPath::of);
            self.problem_in(&table, &peers, fault);
            return None;
        }
        Some(Arc::clone(roots))
    }
}

/// A certificate chain with its private key.
struct TlsIdentity {
    certified: Arc<CertifiedKey>,
    cert: PemFile,
    key: PemFile,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn unusable(error: impl Display) -> Fault {
    format!("which cannot be used: {error}")
}

/// Returns the digest of all files; configs with equal digests are equal.
fn digest(files: [Option<&PemFile>; 3]) -> [u8; 32] {
    let mut all = Sha256::new();
    for file in files {
        all.update(file.map(|file| Sha256::digest(&file.bytes)).unwrap_or_default());
    }
    all.finalize().into()
}

#[cfg(test)]
mod tests;
