//! The body of a response on its way to the client: it holds its memory, and tells how far the client has read.

use bytes::{Buf, Bytes};
use http_body_util::Full;

use crate::http::limits::{InFlight, MemoryPermit};
use crate::http::response::Response;

/// The bytes that are still to be written; each write advances them. They go out in one piece, without a copy, which hyper
/// keeps until all of it was written.
#[derive(Debug)]
pub(crate) struct TrackedBytes {
    left: Bytes,
    in_flight: InFlight,
    _permit: MemoryPermit,
}

/// Makes the response tell `in_flight` how far the client has read, and hold its memory meanwhile.
pub(crate) fn track(
    response: Response,
    mut in_flight: InFlight,
    permit: MemoryPermit,
) -> http::Response<Full<TrackedBytes>> {
    in_flight.answered();
    response.map(|left| Full::new(TrackedBytes { left, in_flight, _permit: permit }))
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
        if bytes > 0 {
            self.in_flight.progressed();
        }
    }
}
