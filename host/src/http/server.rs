//! The listener: accepts connections, limits them, and ends them gracefully.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use super::activity::Times;
use super::answer::hand_out;
use super::body::Guest;
use super::connections::{Connections, Place};
use super::head_time::HeadTime;
use super::lingering::Lingering;
use super::pace::Paced;
use super::strangers::Strangers;
use super::write_timeout::WriteTimeout;
use super::{Credential, Door, Limit, Sender, Tls};
use crate::base::Tasks;
use crate::config::{Networks, why_distrusted};

/// Pause after the system refused a connection, for lack of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long one that waits for room waits until another connection is asked to make some.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long open connections, and TLS handshakes, still go on when the host stops: a request may be on its way, and its
/// sender could not know whether it ran if the connection ended instead. Each of them is told that it was the last.
const LAST_REQUESTS: Duration = Duration::from_millis(250);
/// How long a connection without requests may take to end after that.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// Most streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// How connections are taken.
#[derive(Debug)]
pub struct Listening {
    /// Encrypts them, if the listener speaks TLS.
    pub tls: Option<Tls>,
    /// So many are open at once: for one more, the one that has done nothing for longest makes room.
    pub connections_max: usize,
    /// So many of them from one address; the next ones are closed.
    pub connections_per_address_max: usize,
    /// Addresses for which that does not count: each connection from there is one of an address of its own.
    pub proxies: Networks,
    /// Largest head of a request.
    pub header_bytes_max: usize,
    /// How long a client may take for the TLS handshake, and for the head of a request once it has begun; for the first
    /// one, since the connection was accepted.
    pub header_timeout: Duration,
    /// How long a connection may do nothing after a request.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
}

/// The public server: everything that its connections share, on whichever runtime they are accepted.
#[derive(Debug)]
pub struct Server {
    door: Arc<Door>,
    tasks: Tasks,
    tls: Option<Tls>,
    times: Times,
    connections_max: usize,
    permits: Arc<Semaphore>,
    connections: Arc<Connections>,
    protocols: auto::Builder<Streams>,
    /// Held by [`Server::stand_in`] while it has the socket.
    stand_in: Arc<tokio::sync::Mutex<()>>,
}

/// The workers of the host, as the thread sees them that stands in for them.
#[derive(Debug, Clone)]
pub struct Workers {
    /// Their runtime.
    pub runtime: Handle,
    /// True while functions hold all of them.
    pub all_held: watch::Receiver<bool>,
}

impl Server {
    /// Creates the server; its connections are tasks of `tasks`.
    #[must_use]
    pub fn new(door: Arc<Door>, tasks: Tasks, listening: Listening) -> Arc<Self> {
        let Listening { tls, connections_max, connections_per_address_max, proxies, .. } = listening;
        let times = Times {
            header: listening.header_timeout,
            idle: listening.idle_timeout,
            write: listening.write_timeout,
        };
        let strangers = Strangers::new(door.body_memory.max());
        let of_address = (connections_per_address_max, proxies);
        let connections = Connections::new(of_address, Arc::clone(&door.meters), strangers);
        let permits = Arc::new(Semaphore::new(connections_max));
        let protocols = protocols(times.header, listening.header_bytes_max, tasks.clone());
        let stand_in = Arc::default();
        Arc::new(Self { door, tasks, tls, times, connections_max, permits, connections, protocols, stand_in })
    }

    /// Accepts connections until the token of the tasks is cancelled; each is a task of the runtime that this runs on.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        self.accept(&listener, None).await;
        // From here on, connections are refused: the other descriptor of the socket is closed as well.
        let _closed = self.stand_in.lock().await;
        // Those that the system has taken in already are served: a request may be on its way there, and its sender could
        // not know whether it ran if the connection were reset.
        for (stream, from) in waiting(listener, self.connections_max) {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { break };
            if let Some(place) = self.connections.enter(from) {
                self.begin(stream, from, place, permit, None);
            }
        }
    }

    /// Accepts connections while functions hold all workers, from a runtime with a thread of its own: probes are answered
    /// there, everything else by the workers once they are free.
    ///
    /// `listener` is a second descriptor of the socket of [`Server::serve`].
    pub async fn stand_in(self: Arc<Self>, listener: TcpListener, workers: Workers) {
        let _has_the_socket = self.stand_in.lock().await;
        let mut all_held = workers.all_held.clone();
        loop {
            tokio::select! {
                () = self.tasks.token().cancelled() => return,
                held = all_held.wait_for(|held| *held) => if held.is_err() { return },
            }
            self.accept(&listener, Some(&workers)).await;
        }
    }

    /// Accepts connections until the host stops; in the place of workers, until they are free.
    async fn accept(&self, listener: &TcpListener, instead_of: Option<&Workers>) {
        let ends = async {
            tokio::select! {
                () = self.tasks.token().cancelled() => {}
                () = released(instead_of) => {}
            }
        };
        tokio::pin!(ends);
        loop {
            let accepted = tokio::select! {
                () = ends.as_mut() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let Some(place) = self.connections.enter(from) else { continue };
                    let permit = tokio::select! {
                        // One that was accepted is served, also if the host stops just then.
                        biased;
                        permit = permit(&self.permits, &self.connections, &place) => permit,
                        () = self.tasks.token().cancelled() => return,
                    };
                    let Ok(permit) = permit else { return };
                    self.begin(stream, from, place, permit, instead_of);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn begin(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        place: Place,
        permit: OwnedSemaphorePermit,
        instead_of: Option<&Workers>,
    ) {
        let connection = Connection {
            door: Arc::clone(&self.door),
            server: self.protocols.clone(),
            times: self.times,
            place,
            tasks: self.tasks.clone(),
            workers: instead_of.cloned().map(Box::new),
        };
        let tls = self.tls.clone();
        self.tasks.spawn(async move {
            connection.serve(stream, from, tls).await;
            drop(permit);
        });
    }
}

/// Ends once the workers are free again; never without any.
async fn released(workers: Option<&Workers>) {
    let Some(workers) = workers else { return std::future::pending().await };
    let mut all_held = workers.all_held.clone();
    // An error is the end of the host.
    let _free = all_held.wait_for(|held| !held).await;
}

/// Leave for one more connection, the one of `place`. Whoever does nothing makes room for whoever comes.
async fn permit(
    places: &Arc<Semaphore>,
    connections: &Connections,
    place: &Place,
) -> Result<OwnedSemaphorePermit, AcquireError> {
    if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
        return Ok(permit);
    }
    place.meters().limit(Limit::Connections);
    loop {
        connections.make_room(place);
        // All may have been busy, or slow to go.
        let permit = tokio::time::timeout(LOOK_AGAIN, Arc::clone(places).acquire_owned());
        if let Ok(permit) = permit.await {
            return permit;
        }
    }
}

/// The connections that the system has taken in and nobody has accepted; at most so many, and closes the listener.
fn waiting(listener: TcpListener, most: usize) -> Vec<(TcpStream, SocketAddr)> {
    // Asked of the system: the runtime's own listener may not have heard of them yet.
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accepted = std::iter::from_fn(|| listener.accept().ok()).take(most);
    accepted
        .filter_map(|(stream, from)| {
            stream.set_nonblocking(true).ok()?;
            Some((TcpStream::from_std(stream).ok()?, from))
        })
        .collect()
}

fn protocols(header_timeout: Duration, header_bytes_max: usize, tasks: Tasks) -> auto::Builder<Streams> {
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

/// What one connection needs.
struct Connection {
    door: Arc<Door>,
    server: auto::Builder<Streams>,
    times: Times,
    place: Place,
    tasks: Tasks,
    /// Where calls run, if the connection was accepted in the place of the workers. Boxed, as it hardly ever is.
    workers: Option<Box<Workers>>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, address: SocketAddr, tls: Option<Tls>) {
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
            () = self.place.activity().evicted() => return,
            () = async {
                self.tasks.token().cancelled().await;
                tokio::time::sleep(LAST_REQUESTS).await;
            } => return,
        };
        match handshake {
            Ok(stream) => {
                let credential = Credential::of(&tls, &stream);
                if let Some(name) = credential.name() {
                    tracing::debug!(from = %address, certificate = %name, "a client with a certificate");
                }
                self.answer(stream, address, Some(Arc::new(credential))).await;
            }
            Err(error) => {
                let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                let why = of_tls.and_then(why_distrusted).unwrap_or_else(|| error.to_string());
                tracing::debug!(from = %address, error = why, "the connection is closed: the TLS handshake failed");
            }
        }
    }

    /// Answers the requests of the connection.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        self,
        stream: S,
        from: SocketAddr,
        credential: Option<Arc<Credential>>,
    ) {
        let Self { door, mut server, times, place, tasks, workers } = self;
        let connections = Arc::clone(place.all());
        let sender = Arc::new(Sender { address: from, credential, connections });
        let activity = place.activity();
        let service = service_fn(|request: Request<Incoming>| {
            let busy = activity.begin();
            if activity.strangers().all().are_too_many() {
                place.all().make_room_for_requests();
            }
            let (head, body) = request.into_parts();
            let version = head.version;
            // Here and now: heads are not kept until the tasks of their requests run, let alone their bodies arrive.
            let asked = door.take(head, &sender, &busy);
            let elsewhere = workers.as_deref().filter(|_| !asked.is_probe());
            let is_last = workers.is_some();
            let (door, sender) = (Arc::clone(&door), Arc::clone(&sender));
            let answer = async move {
                let guest = Guest { busy: &busy, from: &sender };
                let (mut response, taken) = door.answer(asked, body, guest).await;
                // HTTP/2 has a message of its own for that.
                let is_last = is_last || door.ending.is_announced() || !sender.is_good();
                if is_last && version <= Version::HTTP_11 {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, JoinError>(hand_out(response, busy, taken))
            };
            match elsewhere {
                None => Either::Left(answer),
                Some(workers) => {
                    let answer = AbortOnDropHandle::new(tasks.spawn_on(&workers.runtime, answer));
                    Either::Right(async move { answer.await.flatten() })
                }
            }
        });
        let stream = WriteTimeout::new(stream, times.write);
        let stream = Lingering::new(stream, tasks.token().clone());
        let (stream, turn) = Paced::new(stream, Arc::clone(activity));
        server.http1().timer(HeadTime::new(activity, times.header));
        let connection = server.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let idle = Notify::new();
        let ended = async {
            let last_requests = tokio::select! {
                outcome = connection.as_mut() => return outcome,
                () = tasks.token().cancelled() => LAST_REQUESTS,
                () = lost(&sender) => {
                    tracing::debug!(%from, "the connection ends: its client certificate is no longer valid");
                    Duration::ZERO
                }
                () = idle.notified() => Duration::ZERO,
                () = released(workers.as_deref()) => LAST_REQUESTS,
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
            // No new requests; those that have begun are answered. Not every client says goodbye.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection => outcome,
                () = activity.unused(GOODBYE_MAX) => Ok(()),
            }
        };
        tokio::pin!(ended);
        let ended = poll_fn(|context| {
            turn.begin();
            ended.as_mut().poll(context)
        });
        let outcome = tokio::select! {
            outcome = ended => outcome,
            () = outlived(&place, times, from, &idle) => return,
            () = tasks.abandoned().cancelled() => return,
        };
        if let Err(error) = outcome {
            place.meters().broke(&*error);
            tracing::debug!(%from, %error, "the connection ended early");
        }
    }
}

/// Ends when the connection is to be closed at once, as a limit acts. One that is idle is told by `idle` to end by itself
/// first: a request may be on its way, and over HTTP/2 its sender learns whether it was taken.
///
/// hyper has no limit for who says nothing at all, nor for answers, which HTTP/2 holds back for as long as the client
/// likes.
async fn outlived(place: &Place, times: Times, from: SocketAddr, idle: &Notify) {
    let mut leaves = false;
    loop {
        let limit = place.activity().outlived(times).await;
        if limit == Limit::IdleTime && leaves {
            return;
        }
        place.meters().limit(limit);
        tracing::debug!(%from, limit = limit.as_str(), "the connection is closed: it does nothing");
        if limit != Limit::IdleTime {
            return;
        }
        leaves = true;
        place.activity().touch();
        idle.notify_one();
    }
}

/// Ends once the client's certificate is no longer valid.
async fn lost(sender: &Sender) {
    match &sender.credential {
        // Boxed: otherwise, the task of every plain connection would have the size of this one.
        Some(credential) => Box::pin(credential.lost()).await,
        None => std::future::pending().await,
    }
}

/// Runs the streams of HTTP/2 connections as tasks of ours.
#[derive(Debug, Clone)]
struct Streams(Tasks);

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
