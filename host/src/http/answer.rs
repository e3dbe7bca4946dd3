//! The body of an answer on its way to the client: what holds its memory, and knows how far it was taken.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::Response;
use super::activity::Busy;
use super::body::Taken;

/// A body that is at hand. It goes out in one piece, without a copy, which hyper keeps until all of it was written.
#[derive(Debug)]
pub(super) struct Answer {
    body: Full<Bytes>,
    /// Until the piece has it.
    on_its_way: Option<OnItsWay>,
}

/// What is left of the piece. Whoever writes some of it says so by advancing.
#[derive(Debug)]
pub(super) struct Piece {
    left: Bytes,
    on_its_way: Option<OnItsWay>,
}

/// For as long as it lives, the client has not taken all of an answer, and the answer has its part of the memory.
#[derive(Debug)]
struct OnItsWay {
    busy: Busy,
    _taken: Taken,
}

/// Has the answer be taken; `taken` is what it has of the memory.
pub(super) fn hand_out(response: Response, mut busy: Busy, taken: Taken) -> http::Response<Answer> {
    busy.answered();
    response.map(|body| Answer { body, on_its_way: Some(OnItsWay { busy, _taken: taken }) })
}

impl Body for Answer {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        let this = self.get_mut();
        Pin::new(&mut this.body).poll_frame(context).map(|frame| {
            let frame =
                frame?.map(|frame| frame.map_data(|left| Piece { left, on_its_way: this.on_its_way.take() }));
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

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.left.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.left.chunk()
    }

    fn advance(&mut self, bytes: usize) {
        self.left.advance(bytes);
        if let Some(on_its_way) = &mut self.on_its_way
            && bytes > 0
        {
            on_its_way.busy.took();
        }
    }
}
