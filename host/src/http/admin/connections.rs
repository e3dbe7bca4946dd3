//! Connections of both listeners: how many, how long, and how they end.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::seats::{Seat, Seats};
use crate::base::Tasks;
use crate::http::accept;
use crate::http::request::head;
use crate::http::response::Response;

/// Longest time for the head of a request, and for a connection without requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Maximum number of connections of one listener; for one more, an idle one is evicted.
const CONNECTIONS_MAX: usize = 64;

/// Accepts connections until the token of `tasks` is cancelled; `serve` is a task for each.
pub(super) async fn accept<C, A, F>(accept: impl Fn() -> A, tasks: Tasks, serve: impl Fn(C, Arc<Seat>) -> F)
where
    A: Future<Output = io::Result<C>>,
    F: Future<Output = ()> + Send + 'static,
{
    let seats = Seats::new(CONNECTIONS_MAX);
    while let Some(accepted) = accept::next(&accept, tasks.token()).await {
        let Some(taken) = seats.take(tasks.token()).await else { return };
        let connection = serve(accepted, Arc::clone(&taken.seat));
        tasks.spawn(async move {
            connection.await;
            drop(taken);
        });
    }
}

/// Serves one connection until the client ends it or is idle for too long. Once the token of `tasks` is cancelled, the
/// request that has begun is the last one; once `seat` is evicted, the connection ends at once.
pub(super) async fn serve<S, F>(
    stream: S,
    answer: impl Fn(Request<Incoming>) -> F,
    tasks: Tasks,
    seat: Arc<Seat>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response>,
{
    let service = service_fn(|request: Request<Incoming>| {
        let begun = seat.begin();
        let (head, body) = request.into_parts();
        let answer = head::check(&head).map(|()| answer(Request::from_parts(head, body)));
        async move {
            let response = match answer {
                Ok(answer) => answer.await,
                Err(problem) => problem.into_response(),
            };
            drop(begun);
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let connection = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = seat.evicted() => return,
        () = tasks.token().cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection => outcome,
                () = tasks.abandoned().cancelled() => return,
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    fn connect(tasks: &Tasks) -> DuplexStream {
        let (near, far) = tokio::io::duplex(4096);
        let answer = |_| async { Response::new(Bytes::from_static(b"done")) };
        tasks.spawn(serve(far, answer, tasks.clone(), Arc::default()));
        near
    }

    async fn read_answer(stream: &mut DuplexStream) {
        let mut answer = Vec::new();
        while !answer.ends_with(b"done") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{answer:?}");
        }
    }

    async fn check_ends(mut stream: DuplexStream, after: Duration) {
        let began = Instant::now();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        assert!(began.elapsed() >= after && began.elapsed() < after + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_slow_and_idle_connections_end() {
        let tasks = Tasks::default();
        check_ends(connect(&tasks), HEADER_TIMEOUT).await;
        let mut slow = connect(&tasks);
        slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        check_ends(slow, HEADER_TIMEOUT).await;
        let mut idle = connect(&tasks);
        for _ in 0..2 {
            idle.write_all(REQUEST).await.unwrap();
            read_answer(&mut idle).await;
        }
        check_ends(idle, HEADER_TIMEOUT).await;
        assert_eq!(tasks.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_end_at_once_with_the_tasks() {
        let tasks = Tasks::default();
        let silent = connect(&tasks);
        let mut idle = connect(&tasks);
        idle.write_all(REQUEST).await.unwrap();
        read_answer(&mut idle).await;
        assert!(tasks.end(Duration::from_secs(1)).await);
        for stream in [silent, idle] {
            check_ends(stream, Duration::ZERO).await;
        }
    }
}
