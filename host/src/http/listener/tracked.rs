//! The body of a response on its way to the client: it holds its memory, and tells how far the client has read.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use crate::http::limits::{InFlight, MemoryPermit};
use crate::http::response::Response;

/// A body in memory. It goes out in one piece, without a copy, which hyper keeps until all of it was written.
#[derive(Debug)]
pub(crate) struct TrackedBody {
    body: Full<Bytes>,
    /// Moves to the bytes.
    guard: Option<ResponseGuard>,
}

/// The bytes that are still to be written; each write advances them.
#[derive(Debug)]
pub(crate) struct TrackedBytes {
    left: Bytes,
    guard: Option<ResponseGuard>,
}

/// A response that the client has not read to its end, with its memory.
#[derive(Debug)]
struct ResponseGuard {
    in_flight: InFlight,
    _permit: MemoryPermit,
}

/// Makes the response tell `in_flight` how far the client has read, and hold its memory meanwhile.
pub(crate) fn track(
    response: Response,
    mut in_flight: InFlight,
    permit: MemoryPermit,
) -> http::Response<TrackedBody> {
    in_flight.answered();
    response.map(|body| TrackedBody { body, guard: Some(ResponseGuard { in_flight, _permit: permit }) })
}

impl Body for TrackedBody {
    type Data = TrackedBytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<TrackedBytes>, Infallible>>> {
        let this = self.get_mut();
        Pin::new(&mut this.body).poll_frame(context).map(|frame| {
            let frame =
                frame?.map(|frame| frame.map_data(|left| TrackedBytes { left, guard: this.guard.take() }));
            Some(frame)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Buf for TrackedBytes {
    fn remaining(&self) -> usize {
        self.left.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.left.chunk()
    }

    fn advance(&mut self, bytes: usize) {
        self.left.advance(bytes);
        if let Some(guard) = &mut self.guard
            && bytes > 0
        {
            guard.in_flight.progressed();
        }
    }
}
