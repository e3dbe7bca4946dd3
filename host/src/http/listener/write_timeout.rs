//! A bound on the time for which the other end of a stream may stop reading.
//!
//! [`Activity`](crate::http::limits::Activity) bounds the time of each response, also over HTTP/2, but ends with its last
//! byte handed to hyper or TLS; this bounds what lies in their buffers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// Fails with [`io::ErrorKind::TimedOut`] once a write has made no progress for `within`.
#[derive(Debug)]
pub(super) struct WriteTimeout {
    within: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    pub(super) fn new(within: Duration) -> Self {
        Self { within, stalled: None }
    }

    /// Returns the outcome of a write, or the error of one that waits for too long.
    pub(super) fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.within)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other end takes nothing")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWrite as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_something_is_not() {
        let (mut ours, mut theirs) = tokio::io::duplex(8);
        let mut timeout = WriteTimeout::new(Duration::from_secs(5));
        let reads = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut [0; 8]).await.unwrap();
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
}
