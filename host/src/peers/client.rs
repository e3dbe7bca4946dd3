//! The HTTP client of all peers: a pool of HTTP/1.1 connections, no redirects, bounded answers.

mod get;

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::TokioTimer;

use super::connector::{Connector, is_refused_certificate};
use super::expiry::Watched;
use crate::base::Tasks;
use crate::config::{OutboundProxies, Proxy};
use crate::wire;

pub(super) use get::{Asked, Got};

/// Idle connections that are kept for each peer. About 16 cost least (DESIGN section 12).
const IDLE_CONNECTIONS_MAX: usize = 16;
/// How long an idle connection is kept: well below `header_timeout_ms` of the peer (10 s by default), after which
/// the peer closes it, perhaps just when a call is being sent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Sends frames to peers.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    tasks: Tasks,
    proxies: OutboundProxies,
    answer_bytes_max: usize,
}

/// Where frames for a peer are posted.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    uri: Uri,
    /// For the proxy that reads the request.
    proxy_authorization: Option<HeaderValue>,
}

/// What came back over HTTP, before anything of it is believed.
#[derive(Debug)]
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    /// The content type is the one of sealed frames.
    pub(super) is_sealed: bool,
    /// It names the version of the wire that the peer speaks, as a host does that cannot read a frame.
    pub(super) names_version: bool,
    pub(super) body: BytesMut,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// No connection: nothing was sent.
    #[error("no connection: {0}")]
    NotConnected(String),
    /// The TLS handshake failed in the end: nothing that was sent was looked at.
    #[error("the peer wants a certificate of this host that it accepts: {0}")]
    CertificateRefused(String),
    /// The connection broke after something may have been sent.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The answer is larger than this host takes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

impl Client {
    /// A client that connects as `proxy` says, whose connections belong to `tasks`, and which takes answers of at most
    /// `answer_bytes_max` bytes.
    #[must_use]
    pub fn new(proxy: &Proxy, tasks: &Tasks, answer_bytes_max: usize) -> Self {
        Self::by(Connector::new(proxy), proxy, tasks, answer_bytes_max)
    }

    /// As [`Client::new`], for https peers whose certificates have `name`, whatever their URLs have.
    #[must_use]
    pub fn named(proxy: &Proxy, tasks: &Tasks, answer_bytes_max: usize, name: String) -> Self {
        Self::by(Connector::new(proxy).named(name), proxy, tasks, answer_bytes_max)
    }

    fn by(connector: Connector, proxy: &Proxy, tasks: &Tasks, answer_bytes_max: usize) -> Self {
        let pool = Pool::builder(Executor(tasks.clone()))
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Self { pool, tasks: tasks.clone(), proxies: proxy.outbound.clone(), answer_bytes_max }
    }

    /// Who owns its connections, and what else outlives a call.
    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Where frames for `uri` are posted.
    pub(super) fn destination(&self, uri: Uri) -> Destination {
        // A tunnel for https is opened with it instead: what goes through a tunnel reaches the peer.
        let proxy = self.proxies.of(&uri).filter(|_| uri.scheme_str() != Some("https"));
        Destination { uri, proxy_authorization: proxy.and_then(|proxy| proxy.authorization) }
    }

    /// Posts one frame and reads the answer, whatever its status.
    pub(super) async fn post(&self, to: &Destination, frame: Vec<u8>) -> Result<HttpAnswer, SendError> {
        let mut request = Request::new(Full::new(Bytes::from(frame)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = to.uri.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(wire::CONTENT_TYPE));
        if let Some(authorization) = &to.proxy_authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let watched = Watched::over(&mut request);
        let response = self.pool.request(request).await.map_err(|error| {
            let text = causes(&error);
            if error.is_connect() {
                SendError::NotConnected(text)
            } else if is_refused_certificate(&error) {
                SendError::CertificateRefused(text)
            } else {
                SendError::Broken(text)
            }
        })?;
        watched.answered(&response);
        let (head, body) = response.into_parts();
        let claimed =
            head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if claimed.is_some_and(|claimed| claimed > self.answer_bytes_max as u64) {
            return Err(SendError::TooLarge(self.answer_bytes_max));
        }
        let body = Limited::new(body, self.answer_bytes_max).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                SendError::TooLarge(self.answer_bytes_max)
            } else {
                SendError::Broken(causes(&*error))
            }
        })?;
        let body = body.to_bytes();
        Ok(HttpAnswer {
            status: head.status,
            is_sealed: head.headers.get(CONTENT_TYPE).is_some_and(|value| value == wire::CONTENT_TYPE),
            names_version: head.headers.contains_key(wire::VERSION_HEADER),
            body: body.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..])),
        })
    }
}

/// The causes of an error in one line, outermost first.
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

/// Runs the pool's connections as tasks of ours.
#[derive(Debug, Clone)]
struct Executor(Tasks);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        let token = self.0.token().clone();
        // A connection ends with the pool or with the host, whichever comes first.
        let _owned = self.0.spawn(async move {
            tokio::select! {
                _ = task => {}
                () = token.cancelled() => {}
            }
        });
    }
}
