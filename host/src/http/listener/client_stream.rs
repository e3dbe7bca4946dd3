//! The stream of one client: reads are paced, writes have a timeout, and its end lingers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::linger::Linger;
use super::pace::{Pace, Turn};
use super::write_timeout::WriteTimeout;
use crate::http::limits::Activity;

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
        Self { stream, pace, write_timeout: WriteTimeout::new(write_timeout), linger, is_shut_down: false }
    }

    /// Returns its turns of reading.
    pub(super) fn turn(&self) -> Turn {
        self.pace.turn()
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
