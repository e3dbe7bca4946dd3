//! Certificates that are made for a test, and a client that speaks TLS and knows nothing of the host's code.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use serde_json::Value;

use crate::Answer;
use crate::http::read_answer;

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// A certificate and its private key, in PEM form.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

impl Default for Authority {
    fn default() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is randomness");
        // Each has a name of its own, as real ones have: they are looked up by it.
        let name: String = key.public_key_raw().iter().map(|byte| format!("{byte:02x}")).take(16).collect();
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("the key signs").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }
}

impl Authority {
    /// Signs a certificate for names and addresses; what has a colon is a URI, which may be marked with `uri:`.
    #[must_use]
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.sign(Self::params(names))
    }

    /// As [`Authority::issue`], a certificate that was good until long ago.
    #[must_use]
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        let mut params = Self::params(names);
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        self.sign(params)
    }

    /// As [`Authority::issue`], for a certificate that is valid for `time`.
    #[must_use]
    pub fn issue_for(&self, names: &[&str], time: Duration) -> Issued {
        let mut params = Self::params(names);
        params.not_after = (SystemTime::now() + time).into();
        self.sign(params)
    }

    /// As [`Authority::issue`], a certificate that may sign others.
    #[must_use]
    pub fn issue_for_authority(&self, names: &[&str]) -> Issued {
        let mut params = Self::params(names);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.sign(params)
    }

    fn params(names: &[&str]) -> CertificateParams {
        let (uris, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains(':'));
        let uris = uris.into_iter().map(|uri| uri.strip_prefix("uri:").unwrap_or(uri));
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).expect("tests use good names");
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.try_into().expect("tests use good URIs")));
        }
        params
    }

    fn sign(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().expect("there is randomness");
        let cert = params.signed_by(&key, &self.issuer).expect("the key signs").pem();
        Issued { cert, key: key.serialize_pem() }
    }
}

impl Issued {
    /// Writes `NAME.pem` and `NAME-key.pem`, each replacing the old one atomically.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn put(&self, folder: &Path, name: &str) {
        for (file, text) in [(format!("{name}-key.pem"), &self.key), (format!("{name}.pem"), &self.cert)] {
            let incoming = folder.join("incoming.pem");
            std::fs::write(&incoming, text).expect("the scratch folder takes files");
            std::fs::rename(incoming, folder.join(file)).expect("the scratch folder takes files");
        }
    }
}

/// A client that believes one authority.
#[derive(Debug, Clone)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// A client that has no certificate, or `own`, and speaks `versions`.
    ///
    /// # Panics
    /// If something that was issued is damaged.
    #[must_use]
    pub fn new(
        authority: &Authority,
        own: Option<&Issued>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("it was just made");
        roots.add(root).expect("it was just made");
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("the versions are known")
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let cert = CertificateDer::from_pem_slice(own.cert.as_bytes()).expect("it was just made");
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("it was just made");
                builder.with_client_auth_cert(vec![cert], key).expect("they belong together")
            }
        };
        Self(Arc::new(config))
    }

    /// The same client, which wants to speak one of these over TLS.
    #[must_use]
    pub fn with_protocols(&self, protocols: &[&str]) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    /// Makes a handshake with `localhost` at `address`.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect(&self, address: &str) -> std::io::Result<TlsStream> {
        let mut tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
        let name = ServerName::try_from("localhost").expect("it is a name");
        let mut connection =
            ClientConnection::new(Arc::clone(&self.0), name).map_err(std::io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        Ok(StreamOwned::new(connection, tcp))
    }

    /// Calls a function with JSON, on a connection of its own.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn call(&self, address: &str, function: &str, arguments: &Value) -> std::io::Result<Answer> {
        let path = format!("/api/v1/functions/{function}");
        let headers = [("content-type", "application/json")];
        self.send(address, "POST", &path, &headers, arguments.to_string().as_bytes())
    }

    /// Sends any request, on a connection of its own.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn send(
        &self,
        address: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut stream = self.connect(address)?;
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        read_answer(stream).ok_or_else(|| std::io::Error::other("the connection ended without an answer"))
    }
}

/// A connection that a test speaks on.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;
