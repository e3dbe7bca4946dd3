//! TLS of the public listener: handshakes with the certificate in force, and the certificates of clients.
//!
//! A client certificate counts only while a new handshake with it would succeed: sessions of clients with certificates are
//! not resumed (`config/check/tls.rs`), and their connections end when the certificate expires or its authority goes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

use crate::base::{CertificateName, good_until};
use crate::config::ServerTls;

/// Longest time for a refused client to read the alert.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of bytes that are discarded of what such a client still sends.
const REFUSED_BYTES_MAX: u64 = 64 * 1024;
/// Time in seconds for which a client's certificate is checked ahead, and then not looked at again.
const LOOK_AHEAD_S: u64 = 600;
/// A connection's certificate is compared with the wall clock this often, which may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The terms of handshakes. A reload replaces them; handshakes that have begun keep theirs.
#[derive(Debug, Clone)]
pub struct Tls {
    terms: watch::Sender<Terms>,
    /// The number of the terms in force.
    version: Arc<AtomicU64>,
}

impl Tls {
    /// Creates it with the settings of `config`.
    pub fn new(config: &ServerTls) -> Self {
        Self { terms: watch::Sender::new(Terms::of(config, 1)), version: Arc::new(AtomicU64::new(1)) }
    }

    /// Replaces the config of future handshakes, and checks the clients of open connections by it.
    pub fn replace(&self, config: &ServerTls) {
        self.terms.send_modify(|terms| {
            *terms = Terms::of(config, terms.version + 1);
            // Before connections hear of it.
            self.version.store(terms.version, Ordering::Release);
        });
    }

    fn terms(&self) -> Terms {
        self.terms.borrow().clone()
    }

    /// Makes the handshake of one connection, within `timeout`.
    pub(crate) async fn accept<S>(&self, stream: S, timeout: Duration) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = TlsAcceptor::from(self.terms().rustls).accept(stream).into_fallible();
        match tokio::time::timeout(timeout, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err((error, stream))) => {
                refuse(stream).await;
                Err(error)
            }
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")),
        }
    }
}

/// The settings of handshakes and clients.
#[derive(Debug, Clone)]
struct Terms {
    version: u64,
    rustls: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Terms {
    fn of(config: &ServerTls, version: u64) -> Self {
        Self { version, rustls: Arc::clone(&config.rustls), clients: config.client_verifier.clone() }
    }

    /// Until when, in Unix seconds, a handshake with this chain succeeds; `None` if it would fail now. Looks ahead as
    /// far as [`LOOK_AHEAD_S`].
    fn good_until(&self, chain: Option<&[CertificateDer<'static>]>, now_s: u64) -> Option<u64> {
        match (&self.clients, chain) {
            (None, None) => Some(u64::MAX),
            (Some(clients), Some([own, others @ ..])) => good_until(now_s, LOOK_AHEAD_S, |time_s| {
                let time = UnixTime::since_unix_epoch(Duration::from_secs(time_s));
                clients.verify_client_cert(own, others, time).is_ok()
            }),
            // Clients are asked for certificates now, or are not asked any more.
            _ => None,
        }
    }
}

/// The certificate of a client. It counts for as long as a new handshake would succeed.
#[derive(Debug)]
pub struct ClientCertificate {
    tls: Tls,
    /// Ends with the certificate of an authority; nothing if the client was not asked for one.
    chain: Option<Vec<CertificateDer<'static>>>,
    name: Option<CertificateName>,
    /// The certificate was found good up to this Unix second.
    good_until_s: AtomicU64,
    /// By the terms of this number; 0 before it was looked at.
    looked_at_by: AtomicU64,
    /// It was found to be bad, once and for all.
    is_lost: AtomicBool,
    lost: Notify,
}

impl ClientCertificate {
    /// Returns the certificate from the handshake of `stream` by `tls`.
    pub(crate) fn of<S>(tls: &Tls, stream: &TlsStream<S>) -> Self {
        let chain = stream.get_ref().1.peer_certificates().map(|chain| {
            chain.iter().map(|certificate| certificate.clone().into_owned()).collect::<Vec<_>>()
        });
        Self {
            tls: tls.clone(),
            name: chain.as_deref().and_then(<[_]>::first).and_then(name_of),
            chain,
            good_until_s: AtomicU64::new(0),
            looked_at_by: AtomicU64::new(0),
            is_lost: AtomicBool::new(false),
            lost: Notify::new(),
        }
    }

    /// Returns the name of the client.
    pub(crate) fn name(&self) -> Option<&CertificateName> {
        self.name.as_ref()
    }

    /// Returns true if a new handshake would succeed. Asked before each request, and cheap unless something has changed.
    pub(crate) fn is_good(&self) -> bool {
        if self.looked_at_by.load(Ordering::Acquire) != self.tls.version.load(Ordering::Acquire) {
            return self.look(now_s());
        }
        match self.good_until_s.load(Ordering::Acquire) {
            u64::MAX => true,
            good_until_s => {
                let now_s = now_s();
                (now_s <= good_until_s && !self.is_lost.load(Ordering::Acquire)) || self.look(now_s)
            }
        }
    }

    /// Looks at the certificate by the terms in force. Once lost, it stays so: the connection is about to end.
    fn look(&self, now_s: u64) -> bool {
        if self.is_lost.load(Ordering::Acquire) {
            return false;
        }
        let terms = self.tls.terms();
        let good_until_s = terms.good_until(self.chain.as_deref(), now_s);
        match good_until_s {
            Some(until_s) => {
                self.good_until_s.store(until_s, Ordering::Release);
                self.looked_at_by.store(terms.version, Ordering::Release);
            }
            None => {
                self.is_lost.store(true, Ordering::Release);
                self.good_until_s.store(0, Ordering::Release);
                self.lost.notify_one();
            }
        }
        good_until_s.is_some()
    }

    /// Ends once a new handshake would fail.
    pub(crate) async fn lost(&self) {
        let mut terms = self.tls.terms.subscribe();
        loop {
            terms.mark_unchanged();
            if !self.is_good() {
                return;
            }
            let left_s = self.good_until_s.load(Ordering::Acquire).saturating_sub(now_s());
            // The wall clock may be set meanwhile.
            let next = Duration::from_secs(left_s.saturating_add(1)).min(LOOK_AGAIN);
            tokio::select! {
                () = tokio::time::sleep(next), if self.chain.is_some() => {}
                _changed = terms.changed() => {}
                () = self.lost.notified() => return,
            }
        }
    }
}

fn now_s() -> u64 {
    UnixTime::now().as_secs()
}

/// Ends a connection such that the client reads the alert that says why. Closed at once, with something unread, the
/// system would answer with a reset: a client of TLS 1.3, which has sent its request with its certificate already,
/// could not know then that nothing of it was looked at.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let read_it = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(REFUSED_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // A client that does not read in time is closed all the same.
    let _done = tokio::time::timeout(REFUSAL_TIMEOUT, read_it).await;
}

/// Returns the name in a certificate: its first DNS name, or else its first URI. The CN is ignored.
fn name_of(certificate: &CertificateDer<'_>) -> Option<CertificateName> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let dns = certificate.valid_dns_names().next().map(|name| CertificateName::Dns(name.to_owned()));
    let uri = || certificate.valid_uri_names().next().map(|name| CertificateName::Uri(name.to_owned()));
    dns.or_else(uri)
}
