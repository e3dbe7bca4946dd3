//! The stream of one client: reads are paced, writes have a timeout, and its end lingers.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use crate::http::limits::Activity;

/// Longest time for discarding.
const LINGER_MAX: Duration = Duration::from_secs(5);
/// Maximum number of discarded bytes.
const DISCARDED_MAX: usize = 64 << 20;

/// The stream of one client.
#[derive(Debug)]
pub(super) struct ClientStream<S> {
    stream: S,
    pace: Pace,
    write_timeout: WriteTimeout,
    linger: Linger,
    is_shut_down: bool,
}

impl<S> ClientStream<S> {
    /// Wraps `stream`; its end does not linger once `stopping` is cancelled.
    pub(super) fn new(
        stream: S,
        activity: Arc<Activity>,
        write_timeout: Duration,
        stopping: CancellationToken,
    ) -> Self {
        let (pace, linger) = (Pace::new(activity), Linger::new(stopping));
        Self {
            stream,
            pace,
            write_timeout: WriteTimeout { within: write_timeout, stalled: None },
            linger,
            is_shut_down: false,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.pace.poll_read(Pin::new(&mut this.stream), context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.write_timeout.judge(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.write_timeout.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.write_timeout.judge(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.is_shut_down {
            let shut = Pin::new(&mut this.stream).poll_shutdown(context);
            ready!(this.write_timeout.judge(shut, context))?;
            this.is_shut_down = true;
        }
        this.linger.poll_end(Pin::new(&mut this.stream), context).map(Ok)
    }
}

/// Fails with [`io::ErrorKind::TimedOut`] once a write has made no progress for `within`.
///
/// [`Activity`] bounds the time of each response, also over HTTP/2, but ends with its last byte handed to hyper or TLS;
/// this bounds what lies in their buffers.
#[derive(Debug)]
struct WriteTimeout {
    within: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    /// Returns the outcome of a write, or the error of one that waits for too long.
    fn judge<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.within)));
        let late = |()| Err(io::Error::new(io::ErrorKind::TimedOut, "the other end takes nothing"));
        stalled.as_mut().poll(context).map(late)
    }
}

/// Reads and discards after a shutdown, until the other end closes as well. A request may be refused before all of it
/// was read, and the system resets a connection that is closed with unread bytes: the sender would be told of a broken
/// connection, and might never read why it was refused (RFC 9112, section 9.6).
#[derive(Debug)]
struct Linger {
    /// Nothing is waited for once this is cancelled.
    stopping: CancellationToken,
    /// Since the shutdown.
    limit: Option<Pin<Box<Sleep>>>,
    /// Bytes since then.
    discarded: usize,
}

impl Linger {
    fn new(stopping: CancellationToken) -> Self {
        Self { stopping, limit: None, discarded: 0 }
    }

    /// Reads from `stream`, which was shut down, until its end or a limit.
    fn poll_end(&mut self, mut stream: Pin<&mut impl AsyncRead>, context: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_MAX)));
        if self.stopping.is_cancelled() || limit.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut discarded = [MaybeUninit::uninit(); 16 << 10];
        loop {
            let mut buffer = ReadBuf::uninit(&mut discarded);
            // How the other end goes does not matter any more.
            let read = ready!(stream.as_mut().poll_read(context, &mut buffer));
            self.discarded += buffer.filled().len();
            if read.is_err() || buffer.filled().is_empty() || self.discarded >= DISCARDED_MAX {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_something_is_not() {
        let (mut ours, mut theirs) = tokio::io::duplex(8);
        let mut timeout = WriteTimeout { within: Duration::from_secs(5), stalled: None };
        let reads = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                theirs.read_exact(&mut [0; 8]).await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
        };
        let writes = async {
            loop {
                let write = poll_fn(|context| {
                    let written = Pin::new(&mut ours).poll_write(context, &[0; 8]);
                    timeout.judge(written, context)
                });
                if let Err(error) = write.await {
                    break error.kind();
                }
            }
        };
        let (kind, ()) = tokio::join!(writes, reads);
        assert_eq!(kind, io::ErrorKind::TimedOut);
    }

    async fn end(stream: &mut DuplexStream, stopping: &CancellationToken) {
        let mut linger = Linger::new(stopping.clone());
        poll_fn(|context| linger.poll_end(Pin::new(stream), context)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_still_comes_is_taken_in_for_a_while() {
        let stopping = CancellationToken::new();
        let lingers = async |stopping: &CancellationToken, sends_for: Duration, closes: bool| {
            let (mut ours, mut theirs) = tokio::io::duplex(8);
            let sends = async {
                let begun = Instant::now();
                while begun.elapsed() < sends_for && theirs.write_all(&[0; 64]).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                if !closes {
                    std::future::pending::<()>().await;
                }
                drop(theirs);
                std::future::pending::<()>().await;
            };
            let begun = Instant::now();
            tokio::select! {
                () = end(&mut ours, stopping) => {}
                () = sends => unreachable!(),
            }
            begun.elapsed().as_secs()
        };
        assert_eq!(lingers(&stopping, Duration::from_secs(2), true).await, 2);
        assert_eq!(lingers(&stopping, Duration::ZERO, true).await, 0);
        assert_eq!(lingers(&stopping, Duration::from_secs(60), true).await, 5);
        assert_eq!(lingers(&stopping, Duration::ZERO, false).await, 5);
        stopping.cancel();
        assert_eq!(lingers(&stopping, Duration::from_secs(60), false).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn so_much_is_taken_in() {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
        let sends = async {
            let mut sent = 0;
            while theirs.write_all(&[0; 64 << 10]).await.is_ok() {
                sent += 64 << 10;
            }
            sent
        };
        let shuts = async {
            end(&mut ours, &CancellationToken::new()).await;
            drop(ours);
        };
        let (sent, ()) = tokio::join!(sends, shuts);
        assert!((DISCARDED_MAX..DISCARDED_MAX + (2 << 20)).contains(&sent), "{sent} bytes were sent");
    }
}
