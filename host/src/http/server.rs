//! The listener: accepts connections, limits them, and ends them gracefully.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Door;
use crate::base::Tasks;

/// Pause after the system refused a connection, for lack of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Accepts connections until the token of `tasks` is cancelled; each is a task of its own.
///
/// `connections_max` are open at once: the next ones wait in the system's queue.
pub async fn serve(
    listener: TcpListener,
    door: Arc<Door>,
    tasks: Tasks,
    connections_max: usize,
    header_timeout: Duration,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    let server = server(header_timeout, tasks.clone());
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = tasks.token().cancelled() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let connection = connection(
                    stream,
                    from,
                    Arc::clone(&door),
                    server.clone(),
                    header_timeout,
                    tasks.clone(),
                );
                let _owned = tasks.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn server(header_timeout: Duration, tasks: Tasks) -> auto::Builder<Streams> {
    let mut server = auto::Builder::new(Streams(tasks));
    server.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(HEAD_BYTES_MAX);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20));
    server
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    door: Arc<Door>,
    server: auto::Builder<Streams>,
    header_timeout: Duration,
    tasks: Tasks,
) {
    if stream.set_nodelay(true).is_err() {
        // The connection is gone already.
        return;
    }
    let spoke = AtomicBool::new(false);
    let service = service_fn(|request| {
        spoke.store(true, Ordering::Relaxed);
        let door = Arc::clone(&door);
        async move { Ok::<_, Infallible>(door.answer(request, from).await) }
    });
    let connection = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // hyper's own timeout begins once it knows the version of HTTP: whoever says less would keep a place for ever.
    let silent = async {
        tokio::time::sleep(header_timeout).await;
        if spoke.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = silent => {
            tracing::debug!(%from, "the connection is closed: it brought no request in time");
            return;
        }
        () = tasks.token().cancelled() => {
            // No new requests; those that have begun are answered.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection => outcome,
                () = tasks.abandoned().cancelled() => return,
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%from, %error, "the connection ended early");
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
        let _owned = self.0.spawn(async move {
            tokio::select! {
                _ = stream => {}
                () = tasks.abandoned().cancelled() => {}
            }
        });
    }
}
