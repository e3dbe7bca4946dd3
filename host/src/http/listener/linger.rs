//! The end of a stream: what still arrives after the last response is read and discarded.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
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
pub(super) struct Linger {
    /// Nothing is waited for once this is cancelled.
    stopping: CancellationToken,
    /// Since the shutdown.
    limit: Option<Pin<Box<Sleep>>>,
    /// Bytes since then.
    discarded: usize,
}

impl Linger {
    pub(super) fn new(stopping: CancellationToken) -> Self {
        Self { stopping, limit: None, discarded: 0 }
    }

    /// Reads from `stream`, which was shut down, until its end or a limit.
    pub(super) fn poll_end(
        &mut self,
        mut stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
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

    use tokio::io::{AsyncWriteExt as _, DuplexStream};
    use tokio::time::Instant;

    use super::*;

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
