//! Connections to peers: directly or through a proxy, with TLS where the URL says https and never without it there.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::ReadBufCursor;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::certificate::PeerCertificate;
use super::resolver::{self, Resolver};
use super::tunnel::{self, TunnelError};
use crate::config::{AllowedAddresses, OutboundProxies, OutboundProxy, PeerTls, Proxy, why_distrusted};

/// The longest time for a TCP connection, within the time for all of connecting.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time for all of connecting, with proxy and TLS handshake, within the deadline of the call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type TcpIo = TokioIo<TcpStream>;

/// Makes connections.
#[derive(Clone)]
pub struct Connector {
    peers: HttpConnector<Resolver<GaiResolver>>,
    /// Connects to proxies, which the operator of this machine chose: their addresses are not restricted.
    to_proxies: HttpConnector,
    tls: Option<PeerTls>,
    /// The name that certificates must have, if it is not the one in the URL.
    tls_name: Option<Arc<str>>,
    proxies: OutboundProxies,
    allowed: AllowedAddresses,
}

/// Connect errors that no dependency reports.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Late,
    #[error("the proxy {authority} gave no connection")]
    Proxy {
        authority: String,
        #[source]
        source: BoxError,
    },
    #[error("{why}")]
    Distrusted { why: String, is_lasting: bool },
    #[error("TLS is not configured")]
    NoTls,
    #[error("a URL without a host")]
    NoHost,
}

impl Connector {
    /// Returns a connector with the options of `proxy`.
    pub fn new(proxy: &Proxy) -> Self {
        let allowed = proxy.allowed_addresses.clone();
        let resolver = Resolver::new(GaiResolver::new(), allowed.clone());
        Self {
            peers: tcp(HttpConnector::new_with_resolver(resolver)),
            to_proxies: tcp(HttpConnector::new()),
            tls: proxy.tls.clone(),
            tls_name: None,
            proxies: proxy.outbound.clone(),
            allowed,
        }
    }

    /// Returns the same connector for peers whose certificates have that name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { tls_name: Some(name.into()), ..self }
    }

    async fn connect(self, uri: Uri) -> Result<Stream, BoxError> {
        // Addresses of names are checked when they are resolved; names that a proxy resolves are its own matter.
        if let Ok(address) = bare_host(&uri)?.parse::<IpAddr>() {
            resolver::check(&self.allowed, address)?;
        }
        let is_https = uri.scheme_str() == Some("https");
        let proxy = self.proxies.of(&uri);
        let is_proxied = proxy.is_some() && !is_https;
        let tcp = match proxy {
            Some(proxy) => self.through(proxy, &uri, is_https).await?,
            None => self.peers.clone().call(uri.clone()).await?,
        };
        if !is_https {
            return Ok(Stream { io: Io::Plain(tcp), certificate: None, is_proxied });
        }
        let (io, certificate) = self.encrypt(tcp, &uri).await?;
        Ok(Stream { io: Io::Tls(Box::new(io)), certificate: Some(certificate), is_proxied })
    }

    /// Connects through a proxy: for https by a tunnel, in which the proxy sees nothing, for http to the proxy itself.
    async fn through(&self, proxy: OutboundProxy, uri: &Uri, is_https: bool) -> Result<TcpIo, BoxError> {
        let authority = proxy.uri.authority().map(ToString::to_string).unwrap_or_default();
        let refused = |source: BoxError| ConnectError::Proxy { authority, source };
        let connected = async {
            let tcp = self.to_proxies.clone().call(proxy.uri).await?;
            if !is_https {
                return Ok(tcp);
            }
            let mut stream = tcp.into_inner();
            tunnel::open(&mut stream, uri, proxy.authorization.as_ref()).await?;
            Ok(TokioIo::new(stream))
        };
        Ok(connected.await.map_err(refused)?)
    }

    async fn encrypt(
        &self,
        tcp: TcpIo,
        uri: &Uri,
    ) -> Result<(TokioIo<TlsStream<TcpStream>>, PeerCertificate), BoxError> {
        let tls = self.tls.as_ref().ok_or(ConnectError::NoTls)?;
        let name = self.tls_name.as_deref().map_or_else(|| bare_host(uri), Ok)?;
        // Certificates have names without the dot at the end that a URL may have (RFC 6066, section 3).
        let name = ServerName::try_from(name.strip_suffix('.').unwrap_or(name).to_owned())?;
        let connector = TlsConnector::from(Arc::clone(&tls.rustls));
        let connected = connector.connect(name.clone(), tcp.into_inner()).await;
        let stream = connected.map_err(|error| {
            let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            let is_lasting = matches!(of_tls, Some(rustls::Error::InvalidCertificate(_)));
            match of_tls.and_then(why_distrusted) {
                Some(why) => BoxError::from(ConnectError::Distrusted { why, is_lasting }),
                None => error.into(),
            }
        })?;
        let certificate = PeerCertificate::new(tls, name, stream.get_ref().1);
        Ok((TokioIo::new(stream), certificate))
    }
}

/// Returns the host of a URL, without the brackets of an IPv6 address.
fn bare_host(uri: &Uri) -> Result<&str, ConnectError> {
    let host = uri.host().ok_or(ConnectError::NoHost)?;
    Ok(host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host))
}

fn tcp<R>(mut connector: HttpConnector<R>) -> HttpConnector<R> {
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(TCP_TIMEOUT));
    // The caller decides on the scheme.
    connector.enforce_http(false);
    connector
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.clone().connect(uri);
        Box::pin(async move {
            tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| ConnectError::Late)?
        })
    }
}

/// Compares the options. The outbound proxies come from the environment, which stays the same.
impl PartialEq for Connector {
    fn eq(&self, other: &Self) -> bool {
        self.tls == other.tls && self.tls_name == other.tls_name && self.allowed == other.allowed
    }
}

impl Eq for Connector {}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// A connection to a peer, or to a proxy for it.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    /// The peer's certificate, over https.
    certificate: Option<PeerCertificate>,
    /// Requests name the peer by its whole URL, since a proxy reads them.
    is_proxied: bool,
}

#[derive(Debug)]
enum Io {
    Plain(TcpIo),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Stream {
    /// Takes the peer's certificate; nothing on a plain connection.
    pub(super) fn take_certificate(&mut self) -> Option<PeerCertificate> {
        self.certificate.take()
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_proxied)
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(context, buffer),
            Io::Tls(io) => Pin::new(io).poll_read(context, buffer),
        }
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(context, bytes),
            Io::Tls(io) => Pin::new(io).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(context),
            Io::Tls(io) => Pin::new(io).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(context),
            Io::Tls(io) => Pin::new(io).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(context, slices),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(context, slices),
        }
    }
}

/// Returns true if the peer's TLS refused this host's certificate, or wanted one and got none.
///
/// In TLS 1.3, a client has sent its first request before it can know. The alert says that the handshake failed, so the
/// peer read nothing of that request. It is encrypted with the keys of the handshake: only the peer can send it.
pub(super) fn is_refused_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    use rustls::AlertDescription as Alert;
    causes(error).any(|cause| {
        let Some(rustls::Error::AlertReceived(alert)) = cause.downcast_ref() else { return false };
        matches!(
            alert,
            Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError
                | Alert::CertificateRequired
        )
    })
}

/// Returns true if there is no connection for a reason that does not pass: this host does not accept the certificate or
/// the address, or the proxy refuses the request.
pub(super) fn is_lasting(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| {
        matches!(cause.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
            || matches!(
                cause.downcast_ref(),
                Some(
                    ConnectError::NoTls
                        | ConnectError::NoHost
                        | ConnectError::Distrusted { is_lasting: true, .. }
                )
            )
            || cause.downcast_ref().is_some_and(TunnelError::is_lasting)
            || cause.is::<resolver::ForbiddenAddress>()
    })
}

/// Returns an error and its causes, outermost first.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        // An `io::Error` does not return its inner error as its source.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddr};

    use super::*;
    use crate::config::{Config, Environment, Overrides};

    fn connector(text: &str) -> Connector {
        let text = format!("[plugins.proxy]\n{text}");
        let (environment, overrides) = (Environment::default(), Overrides::default());
        let file = std::path::Path::new("config.toml");
        Connector::new(&Config::from_text(&text, file, &environment, &overrides).unwrap().proxy)
    }

    async fn connect(text: &str, uri: &str) -> Result<(), String> {
        let connected = connector(text).call(uri.parse().unwrap()).await;
        connected.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn refused_addresses_are_not_connected_to() {
        for uri in ["http://169.254.169.254/", "http://[::ffff:169.254.169.254]:1/", "http://[fe80::1]/"] {
            let error = connect("", uri).await.unwrap_err();
            assert!(error.contains("is a link-local or metadata address"), "{error}");
        }
    }

    #[tokio::test]
    async fn https_never_goes_without_tls() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(
            connect("", &format!("https://{address}/")).await,
            Err("TLS is not configured".to_owned())
        );
        assert_eq!(connect("", &format!("http://{address}/")).await, Ok(()));
    }

    #[test]
    fn hosts_are_taken_out_of_their_brackets() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 1));
        assert_eq!(bare_host(&uri(&format!("http://{address}/"))).unwrap(), "::1");
        assert_eq!(bare_host(&uri("https://a.test/")).unwrap(), "a.test");
    }

    #[test]
    fn only_alerts_about_certificates_say_that_nothing_ran() {
        use rustls::AlertDescription as Alert;
        let of_rustls = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        for (error, expected) in [
            (of_rustls(rustls::Error::AlertReceived(Alert::CertificateRequired)), true),
            (of_rustls(rustls::Error::AlertReceived(Alert::UnknownCA)), true),
            (of_rustls(rustls::Error::AlertReceived(Alert::InternalError)), false),
            (of_rustls(rustls::Error::AlertReceived(Alert::BadRecordMac)), false),
            (of_rustls(rustls::Error::DecryptError), false),
            (io::Error::other("certificate required"), false),
        ] {
            assert_eq!(is_refused_certificate(&error), expected, "{error}");
            assert_eq!(is_refused_certificate(&io::Error::other(error)), expected, "deeper");
        }
    }

    #[tokio::test]
    async fn what_stays_is_told_from_what_may_pass() {
        let invalid = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        for (error, expected) in [
            (io::Error::new(io::ErrorKind::InvalidData, invalid), true),
            (io::Error::other(ConnectError::NoTls), true),
            (io::Error::other(ConnectError::Late), false),
            (io::Error::from(io::ErrorKind::ConnectionRefused), false),
        ] {
            assert_eq!(is_lasting(&error), expected, "{error}");
            assert_eq!(is_lasting(&io::Error::other(error)), expected, "deeper");
        }
        let refused =
            connector("").call("http://169.254.169.254/".parse().unwrap()).await.map(drop).unwrap_err();
        assert!(is_lasting(&*refused), "{refused}");
    }
}
