//! TLS of the public listener: handshakes with the certificate that is in force, and the names of clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

/// How long a client that was refused may take to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How much of what such a client still sends is thrown away.
const REFUSED_BYTES_MAX: u64 = 64 * 1024;

/// What handshakes are made with. A reload replaces it: those that have begun keep the one that they began with.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl Tls {
    /// Handshakes by `config`.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::new(config)))
    }

    /// Makes those that are still to begin by `config`.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }

    /// Makes the handshake of one connection, within `timeout`.
    pub(super) async fn accept<S>(&self, stream: S, timeout: Duration) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = TlsAcceptor::from(self.0.load_full()).accept(stream).into_fallible();
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

/// Ends a connection such that the client reads the alert that says why. Closed at once, with something unread, the
/// system would answer with a reset: a client of TLS 1.3, which has sent its request with its certificate already,
/// could not know then that nothing of it was looked at.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let read_it = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(REFUSED_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // Whoever does not read in time is closed all the same.
    let _done = tokio::time::timeout(REFUSAL_TIMEOUT, read_it).await;
}

/// What the client of a connection is called: the first DNS name in its certificate, or else the first URI. The
/// certificate is one that an authority of `server.tls.client_ca` has signed; its CN is not looked at.
pub(super) fn client_name<S>(stream: &TlsStream<S>) -> Option<Arc<str>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let name = certificate.valid_dns_names().next().or_else(|| certificate.valid_uri_names().next());
    name.map(Arc::from)
}
