//! One connection of the public listener: its handshake, its requests, and its end.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::Either;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::client_stream::ClientStream;
use super::head_time::HeadTime;
use super::tracked::track;
use crate::base::Tasks;
use crate::config::why_distrusted;
use crate::http::limits::{ConnectionSlot, Limit, Times};
use crate::http::request::{ConnectionInfo, Inbound};
use crate::http::service::Service;
use crate::http::tls::{ClientCertificate, Tls};

/// Time for which open connections and TLS handshakes still go on when the host stops: a request may be on its way, and
/// its sender could not know whether it ran if the connection ended instead. Each of them is told that it was the last.
const LAST_REQUESTS: Duration = Duration::from_millis(250);
/// Longest time for a connection without requests to end after that.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// Maximum number of streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// The workers of the host.
#[derive(Debug, Clone)]
pub struct Workers {
    /// Their runtime.
    pub runtime: Handle,
    /// True while functions hold all of them.
    pub all_held: watch::Receiver<bool>,
}

/// One connection.
pub(super) struct Connection {
    pub(super) service: Arc<Service>,
    pub(super) protocols: auto::Builder<Streams>,
    pub(super) times: Times,
    pub(super) slot: ConnectionSlot,
    pub(super) tasks: Tasks,
    /// The workers, if functions held all of them when the connection was accepted. Boxed, as that is rare.
    pub(super) workers: Option<Box<Workers>>,
    /// All other connections are taken: this one is answered only for probes.
    pub(super) is_reserved: bool,
}

impl Connection {
    /// Serves the connection until it ends.
    pub(super) async fn serve(self, stream: TcpStream, address: SocketAddr, tls: Option<Tls>) {
        if stream.set_nodelay(true).is_err() {
            // The connection is gone already.
            return;
        }
        match tls {
            None => self.answer(stream, address, None).await,
            // Boxed: otherwise, the task of every plain connection would have the size of this one.
            Some(tls) => Box::pin(self.serve_encrypted(stream, address, tls)).await,
        }
    }

    async fn serve_encrypted(self, stream: TcpStream, address: SocketAddr, tls: Tls) {
        let handshake = tokio::select! {
            handshake = tls.accept(stream, self.times.header) => handshake,
            () = self.slot.activity.evicted() => return,
            () = async {
                self.tasks.token().cancelled().await;
                tokio::time::sleep(LAST_REQUESTS).await;
            } => return,
        };
        match handshake {
            Ok(stream) => {
                let certificate = ClientCertificate::of(&tls, &stream);
                if let Some(name) = certificate.name() {
                    tracing::debug!(from = %address, certificate = %name, "a client with a certificate");
                }
                self.answer(stream, address, Some(Arc::new(certificate))).await;
            }
            Err(error) => {
                let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                let why = of_tls.and_then(why_distrusted).unwrap_or_else(|| error.to_string());
                tracing::debug!(from = %address, error = why, "the connection is closed: the TLS handshake failed");
            }
        }
    }

    /// Serves the requests of the connection.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        self,
        stream: S,
        from: SocketAddr,
        certificate: Option<Arc<ClientCertificate>>,
    ) {
        let Self { service, mut protocols, times, slot, tasks, workers, is_reserved } = self;
        let connections = Arc::clone(&slot.all);
        let info = Arc::new(ConnectionInfo { address: from, certificate, connections });
        let activity = &slot.activity;
        // HTTP/2 is told to go once the workers are free, HTTP/1 with its next response.
        let moves = Notify::new();
        let answer = service_fn(|request: Request<Incoming>| {
            let in_flight = activity.begin();
            if activity.strangers.all.are_too_many() {
                slot.all.make_room_for_requests();
            }
            let (head, mut body) = request.into_parts();
            let version = head.version;
            // Here and now: heads are not kept until the tasks of their requests run, let alone their bodies arrive.
            let mut route = service.take(head, &info, &in_flight);
            if is_reserved {
                route = route.of_probes_alone();
            }
            let elsewhere = workers.as_deref().filter(|_| !is_reserved && !route.is_probe());
            let is_last = workers.is_some();
            if is_last && version == Version::HTTP_2 {
                moves.notify_one();
            }
            let (service, info) = (Arc::clone(&service), Arc::clone(&info));
            let answer = async move {
                let inbound = Inbound { body: &mut body, in_flight: &in_flight, from: &info };
                let (mut response, permit) = service.answer(route, inbound).await;
                // HTTP/2 has a message of its own for that.
                let is_last = is_last || service.ending.is_announced() || !info.is_good();
                if is_last && version <= Version::HTTP_11 {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, JoinError>(track(response, in_flight, permit))
            };
            match elsewhere {
                None => Either::Left(answer),
                Some(workers) => {
                    let answer = AbortOnDropHandle::new(tasks.spawn_on(&workers.runtime, answer));
                    Either::Right(async move { answer.await.flatten() })
                }
            }
        });
        let stream = ClientStream::new(stream, Arc::clone(activity), times.write, tasks.token().clone());
        protocols.http1().timer(HeadTime::new(activity, times.header));
        let connection = protocols.serve_connection(TokioIo::new(stream), answer);
        tokio::pin!(connection);
        let idle = Notify::new();
        let ended = async {
            let last_requests = tokio::select! {
                outcome = connection.as_mut() => return outcome,
                () = tasks.token().cancelled() => LAST_REQUESTS,
                () = lost(&info) => {
                    tracing::debug!(%from, "the connection ends: its client certificate is no longer valid");
                    Duration::ZERO
                }
                () = idle.notified() => Duration::ZERO,
                () = released(workers.as_deref(), &moves) => LAST_REQUESTS,
            };
            let last_requests = async {
                tokio::time::sleep(last_requests).await;
                // The runtime looks for what has come since it last did.
                tokio::task::yield_now().await;
            };
            tokio::select! {
                biased;
                outcome = connection.as_mut() => return outcome,
                () = last_requests => {}
            }
            // No new requests; requests that have begun are answered. Not every client says goodbye.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection => outcome,
                () = activity.unused(GOODBYE_MAX) => Ok(()),
            }
        };
        tokio::pin!(ended);
        let ended = poll_fn(|context| {
            activity.turn_bytes.store(0, Ordering::Relaxed);
            ended.as_mut().poll(context)
        });
        let outcome = tokio::select! {
            outcome = ended => outcome,
            () = outlived(&slot, times, from, &idle) => return,
            () = tasks.abandoned().cancelled() => return,
        };
        if let Err(error) = outcome {
            slot.all.meters.broke(&*error);
            tracing::debug!(%from, %error, "the connection ended early");
        }
    }
}

/// Ends when a limit closes the connection. An idle connection is told by `idle` to end by itself first: a request may be
/// on its way, and over HTTP/2 its sender learns whether it was taken.
///
/// hyper has no limit for silent clients, nor for responses, which HTTP/2 holds back for as long as the client likes.
async fn outlived(slot: &ConnectionSlot, times: Times, from: SocketAddr, idle: &Notify) {
    let mut leaves = false;
    loop {
        let limit = slot.activity.outlived(times).await;
        if limit == Limit::IdleTime && leaves {
            return;
        }
        slot.all.meters.limit(limit);
        tracing::debug!(%from, limit = limit.as_str(), "the connection is closed: it does nothing");
        if limit != Limit::IdleTime {
            return;
        }
        leaves = true;
        slot.activity.touch();
        idle.notify_one();
    }
}

/// Ends once the client's certificate is no longer valid.
async fn lost(info: &ConnectionInfo) {
    match &info.certificate {
        // Boxed: otherwise, the task of every plain connection would have the size of this one.
        Some(credential) => Box::pin(credential.lost()).await,
        None => std::future::pending().await,
    }
}

/// Runs the streams of HTTP/2 connections as tracked tasks.
#[derive(Debug, Clone)]
pub(super) struct Streams(Tasks);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let tasks = self.0.clone();
        self.0.spawn(async move {
            tokio::select! {
                _ = stream => {}
                () = tasks.abandoned().cancelled() => {}
            }
        });
    }
}

/// Ends once a connection that `moves` has workers to move to; never without any.
async fn released(workers: Option<&Workers>, moves: &Notify) {
    let Some(workers) = workers else { return std::future::pending().await };
    moves.notified().await;
    let mut all_held = workers.all_held.clone();
    // An error is the end of the host.
    let _free = all_held.wait_for(|held| !held).await;
}

/// Returns the settings of HTTP/1 and HTTP/2 for all connections.
pub(super) fn protocols(
    header_timeout: Duration,
    header_bytes_max: usize,
    tasks: Tasks,
) -> auto::Builder<Streams> {
    let mut server = auto::Builder::new(Streams(tasks));
    // Each connection sets its own timer.
    server.http1().header_read_timeout(header_timeout).max_buf_size(header_bytes_max);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20));
    server
}
