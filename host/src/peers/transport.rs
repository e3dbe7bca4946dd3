//! HTTP to peers: one HTTP/1.1 connection after another, no redirects, bounded answers.

mod certificate;
mod connector;
mod get;
mod resolver;
mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, PROXY_AUTHORIZATION};
use http::response::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use tower_service::Service as _;

use crate::base::{Identity, Tasks, media_type};
use crate::config::{OutboundProxies, Proxy};
use crate::wire;

pub use connector::{Connector, Stream};
pub(super) use get::{GetRequest, GetResponse};

use certificate::PeerCertificate;
use connector::{is_lasting, is_refused_certificate};

/// The largest head of an answer in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Connects to peers.
#[derive(Debug, Clone)]
pub struct Client {
    connector: Connector,
    tasks: Tasks,
    identity: Arc<Identity>,
    proxies: OutboundProxies,
    answer_bytes_max: usize,
    /// The time for which an idle connection is kept.
    idle_timeout: Duration,
}

/// The destination of requests for a peer.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    uri: Uri,
    /// The target that a request names: the path, or the whole URI for a proxy that reads the request.
    target: Uri,
    host: HeaderValue,
    /// Credentials for the proxy that reads the request.
    proxy_authorization: Option<HeaderValue>,
}

/// A connection, which carries one request at a time. It closes when it is dropped.
#[derive(Debug)]
pub(super) struct PeerConnection {
    sender: SendRequest<Full<Bytes>>,
    /// The peer's certificate, over https.
    certificate: Option<PeerCertificate>,
}

/// An HTTP answer, not believed yet.
#[derive(Debug)]
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    /// Its content type is that of sealed frames.
    pub(super) is_sealed: bool,
    /// It names the wire version of the peer, as a host does that cannot read a frame.
    pub(super) names_version: bool,
    pub(super) body: BytesMut,
}

/// The reason why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The connection was closed before any of the request was sent.
    #[error("the connection was closed before the request was sent")]
    NotSent,
    /// No connection: nothing was sent.
    #[error("no connection: {0}")]
    NotConnected(String),
    /// No connection, for a reason that does not pass: nothing was sent.
    #[error("no connection: {0}")]
    Refused(String),
    /// The TLS handshake failed in the end: the peer read nothing that was sent.
    #[error("the peer wants a certificate of this host that it accepts: {0}")]
    CertificateRefused(String),
    /// The connection broke after something may have been sent, and before an answer began.
    #[error("the connection broke before the peer answered: {0}")]
    NoAnswer(String),
    /// The connection broke within the answer, or the answer is not HTTP.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The answer is larger than the limit.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// Compares the options. The outbound proxies come from the environment, which stays the same.
impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.connector == other.connector
            && self.answer_bytes_max == other.answer_bytes_max
            && self.idle_timeout == other.idle_timeout
    }
}

impl Eq for Client {}

impl Client {
    /// Returns a client with the options of `proxy`, whose connections belong to `tasks`, and which accepts answers of
    /// at most `answer_bytes_max` bytes. `identity` is this process, as peers know it.
    pub fn new(proxy: &Proxy, tasks: &Tasks, identity: Arc<Identity>, answer_bytes_max: usize) -> Self {
        Self {
            connector: Connector::new(proxy),
            tasks: tasks.clone(),
            identity,
            proxies: proxy.outbound.clone(),
            answer_bytes_max,
            idle_timeout: proxy.idle_timeout,
        }
    }

    /// The time for which an idle connection is kept.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Returns the same client for https peers whose certificates have `name` instead of the host in the URL.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { connector: self.connector.named(name), ..self }
    }

    /// The owner of its connections, and of tasks that outlive a call.
    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// This process, as peers know it.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the destination of requests for `uri`.
    ///
    /// # Panics
    /// Never: every URI has a path, and its authority is a header's value.
    pub(super) fn destination(&self, uri: Uri) -> Destination {
        // For https, the credentials open the tunnel instead: requests in it reach the peer.
        let proxy = self.proxies.of(&uri).filter(|_| uri.scheme_str() != Some("https"));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let target = if proxy.is_some() { uri.clone() } else { path.parse().unwrap_or_default() };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(authority).unwrap_or_else(|_| HeaderValue::from_static(""));
        Destination { target, host, proxy_authorization: proxy.and_then(|proxy| proxy.authorization), uri }
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// [`SendError::NotConnected`], [`SendError::Refused`].
    pub(super) async fn connect(&self, to: &Destination) -> Result<PeerConnection, SendError> {
        let io = self.connector.clone().call(to.uri.clone()).await;
        let mut io = io.map_err(|error| {
            let text = causes(&*error);
            if is_lasting(&*error) { SendError::Refused(text) } else { SendError::NotConnected(text) }
        })?;
        let certificate = io.take_certificate();
        let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(io).await;
        let (sender, driver) = handshake.map_err(|error| SendError::NotConnected(causes(&error)))?;
        let token = self.tasks.token().clone();
        // It ends with its sender or with the host.
        self.tasks.spawn(async move {
            tokio::select! {
                _ = driver => {}
                () = token.cancelled() => {}
            }
        });
        Ok(PeerConnection { sender, certificate })
    }

    /// Posts one frame and reads the answer of any status.
    ///
    /// # Errors
    /// [`SendError::NotSent`] if nothing of the frame was sent. After any error the connection is of no use.
    pub(super) async fn post(
        &self,
        connection: &mut PeerConnection,
        to: &Destination,
        frame: Bytes,
    ) -> Result<HttpAnswer, SendError> {
        let mut request = Request::new(Full::new(frame));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(wire::CONTENT_TYPE));
        let response = connection.send(request, to).await?;
        let (head, body) = response.into_parts();
        let body = read_body(&head, body, self.answer_bytes_max).await?;
        Ok(HttpAnswer {
            status: head.status,
            is_sealed: is_sealed(head.headers.get(CONTENT_TYPE)),
            names_version: head.headers.contains_key(wire::VERSION_HEADER),
            body: body.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..])),
        })
    }
}

impl PeerConnection {
    /// Waits until it may carry a request; returns false if it never will, or if the peer's certificate has expired.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub(super) async fn is_ready(&mut self) -> bool {
        self.certificate.as_ref().is_none_or(PeerCertificate::is_good) && self.sender.ready().await.is_ok()
    }

    /// Returns true if the other side is known to have closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
        to: &Destination,
    ) -> Result<http::Response<Incoming>, SendError> {
        *request.uri_mut() = to.target.clone();
        request.headers_mut().insert(HOST, to.host.clone());
        if let Some(authorization) = &to.proxy_authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        self.sender.try_send_request(request).await.map_err(|mut error| {
            let is_unsent = error.take_message().is_some();
            let error = error.into_error();
            if is_refused_certificate(&error) {
                SendError::CertificateRefused(causes(&error))
            } else if is_unsent {
                SendError::NotSent
            } else if error.is_parse() {
                SendError::Broken(causes(&error))
            } else {
                SendError::NoAnswer(causes(&error))
            }
        })
    }
}

/// Reads a body of at most `bytes_max` bytes.
async fn read_body(head: &Parts, body: Incoming, bytes_max: usize) -> Result<Bytes, SendError> {
    let claimed = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|claimed| claimed > bytes_max as u64) {
        return Err(SendError::TooLarge(bytes_max));
    }
    let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            SendError::TooLarge(bytes_max)
        } else {
            SendError::Broken(causes(&*error))
        }
    })?;
    Ok(body.to_bytes())
}

/// Returns true for the media type of sealed frames; a gateway may have added parameters to it.
fn is_sealed(content_type: Option<&HeaderValue>) -> bool {
    let text = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type(text) == wire::CONTENT_TYPE
}

/// Returns the causes of an error in one line, outermost first.
fn causes(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(next) = cause {
        texts.push(next.to_string());
        cause = next.source();
    }
    texts.dedup();
    texts.join(": ")
}
