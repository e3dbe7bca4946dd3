//! A stream that reads and discards what still arrives after its last response.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

/// Longest time for discarding.
const LINGER_MAX: Duration = Duration::from_secs(5);
/// Maximum number of discarded bytes.
const DISCARDED_MAX: usize = 64 << 20;

/// Reads and discards after a shutdown, until the other end closes as well. A request may be refused before all of it
/// was read, and the system resets a connection that is closed with unread bytes: the sender would be told of a broken
/// connection, and might never read why it was refused (RFC 9112, section 9.6).
#[derive(Debug)]
pub(crate) struct Lingering<S> {
    stream: S,
    /// Nothing is waited for once this is cancelled.
    stopping: CancellationToken,
    /// Since the shutdown.
    limit: Option<Pin<Box<Sleep>>>,
    /// Bytes since then.
    discarded: usize,
}

impl<S> Lingering<S> {
    pub(crate) fn new(stream: S, stopping: CancellationToken) -> Self {
        Self { stream, stopping, limit: None, discarded: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let limit = match &mut this.limit {
            Some(limit) => limit,
            None => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
                this.limit.insert(Box::pin(tokio::time::sleep(LINGER_MAX)))
            }
        };
        if this.stopping.is_cancelled() || limit.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut discarded = [MaybeUninit::uninit(); 16 << 10];
        loop {
            let mut buffer = ReadBuf::uninit(&mut discarded);
            // How the other end goes does not matter any more.
            let read = ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer));
            this.discarded += buffer.filled().len();
            if read.is_err() || buffer.filled().is_empty() || this.discarded >= DISCARDED_MAX {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_still_comes_is_taken_in_for_a_while() {
        let stopping = CancellationToken::new();
        let lingers = async |stopping: &CancellationToken, sends_for: Duration, closes: bool| {
            let (ours, mut theirs) = tokio::io::duplex(8);
            let mut ours = Lingering::new(ours, stopping.clone());
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
                shut = ours.shutdown() => shut.unwrap(),
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
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut ours = Lingering::new(ours, CancellationToken::new());
        let sends = async {
            let mut sent = 0;
            while theirs.write_all(&[0; 64 << 10]).await.is_ok() {
                sent += 64 << 10;
            }
            sent
        };
        let shuts = async {
            ours.shutdown().await.unwrap();
            drop(ours);
        };
        let (sent, ()) = tokio::join!(sends, shuts);
        assert!((DISCARDED_MAX..DISCARDED_MAX + (2 << 20)).contains(&sent), "{sent} bytes were sent");
    }
}
