//! Reading the body of a request, bounded in size, time, and the memory of all bodies together.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::activity::Busy;
use super::{Problem, Sender};
use crate::base;

/// What is taken in of a body that nobody reads, and for how long.
const DISCARDED_MAX: usize = 64 << 10;
const DISCARDING_MAX: Duration = Duration::from_millis(250);

/// The memory that all bodies which are read or held may take, of requests and of answers. A body takes of it what has
/// arrived, so that nobody takes more by announcing more; an answer has its part until the client has taken it.
///
/// A quarter is kept for requests that have shown a key: what strangers hold beyond the rest does not count for those.
#[derive(Debug)]
pub struct BodyMemory {
    of_strangers: AtomicUsize,
    of_known: AtomicUsize,
    max: usize,
}

/// What one body has taken, given back when it drops.
#[derive(Debug)]
pub(super) struct Taken {
    of: Arc<BodyMemory>,
    bytes: usize,
    is_strangers: bool,
}

impl BodyMemory {
    /// `max` bytes for all bodies.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { of_strangers: AtomicUsize::new(0), of_known: AtomicUsize::new(0), max })
    }

    /// How much is taken, in bytes.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.of_strangers.load(Ordering::Relaxed) + self.of_known.load(Ordering::Relaxed)
    }

    /// How much there is, in bytes.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// What strangers may have of it.
    fn part_of_strangers(&self) -> usize {
        self.max - self.max / 4
    }

    fn of(&self, is_strangers: bool) -> &AtomicUsize {
        if is_strangers { &self.of_strangers } else { &self.of_known }
    }
}

impl Taken {
    pub(super) fn nothing(of: &Arc<BodyMemory>, is_strangers: bool) -> Self {
        Self { of: Arc::clone(of), bytes: 0, is_strangers }
    }

    /// How much it has.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes so much more. It is counted also where that is too much: what is at hand already is taken in any case.
    pub(super) fn more(&mut self, bytes: usize) -> Result<(), Problem> {
        let before = self.of.of(self.is_strangers).fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        let others = if self.is_strangers {
            self.of.of_known.load(Ordering::Relaxed)
        } else {
            self.of.of_strangers.load(Ordering::Relaxed).min(self.of.part_of_strangers())
        };
        let all = before.saturating_add(bytes).saturating_add(others);
        if all > self.of.max { Err(Problem::no_memory()) } else { Ok(()) }
    }

    /// It belongs to a request that has shown a key.
    pub(super) fn known(&mut self) {
        if self.is_strangers {
            self.is_strangers = false;
            self.of.of_known.fetch_add(self.bytes, Ordering::Relaxed);
            self.of.of_strangers.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }

    /// By how much strangers have more than their part, if it is a stranger's; one body of `bytes_max` always fits.
    fn too_much_of_strangers(&self, bytes_max: usize) -> usize {
        let most = self.of.part_of_strangers().max(bytes_max);
        match self.is_strangers && self.bytes > 0 {
            true => self.of.of_strangers.load(Ordering::Relaxed).saturating_sub(most),
            false => 0,
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of.of(self.is_strangers).fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) bytes_max: usize,
    pub(super) within: Duration,
    pub(super) memory: &'a Arc<BodyMemory>,
    /// Whose it is, if it can be a stranger's.
    pub(super) guest: Option<Guest<'a>>,
}

/// A request, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guest<'a> {
    pub(super) busy: &'a Busy,
    pub(super) from: &'a Sender,
}

impl Guest<'_> {
    fn is_stranger(self) -> bool {
        self.busy.is_strangers()
    }
}

/// Judges a body by its first bytes, so many of them, before the others are taken in.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) bytes: usize,
    pub(super) by: &'a (dyn Fn(&[u8]) -> Result<(), Problem> + Sync),
}

/// Reads all of a body; a length that is announced is checked before anything is read. Hold what it has taken for as
/// long as the bytes are needed.
pub(super) async fn read(
    announced: Option<u64>,
    body: &mut Incoming,
    bounds: Bounds<'_>,
    judge: Option<Judge<'_>>,
) -> Result<(Bytes, Taken), Problem> {
    if announced.is_some_and(|announced| announced > bounds.bytes_max as u64) {
        return Err(Problem::too_large(bounds.bytes_max));
    }
    let read = tokio::time::timeout(bounds.within, collect(body, bounds, judge));
    read.await.unwrap_or_else(|_| Err(Problem::body_incomplete()))
}

/// The length that a head announces.
pub(super) fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

async fn collect(
    body: &mut Incoming,
    bounds: Bounds<'_>,
    mut judge: Option<Judge<'_>>,
) -> Result<(Bytes, Taken), Problem> {
    let guest = bounds.guest.filter(|guest| guest.is_stranger());
    let mut taken = Taken::nothing(bounds.memory, guest.is_some());
    let mut awaiting = None;
    // Most bodies come in one piece, which is not copied.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !body.is_end_stream() {
        let frame = match body.frame().now_or_never() {
            Some(frame) => frame,
            None => {
                if !first.is_empty() && rest.is_empty() {
                    // The piece is a part of what was read from the connection, and would hold all of it.
                    rest.extend_from_slice(&std::mem::take(&mut first));
                }
                if let Some(guest) = guest {
                    make_room(guest, &taken, bounds.bytes_max)?;
                    let awaiting = awaiting.get_or_insert_with(|| guest.busy.awaits());
                    awaiting.has(taken.bytes);
                }
                body.frame().await
            }
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| Problem::body_incomplete())?.into_data() else { continue };
        if data.len() > bounds.bytes_max - taken.bytes {
            return Err(Problem::too_large(bounds.bytes_max));
        }
        taken.more(data.len())?;
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
        let begun = if rest.is_empty() { &first[..] } else { &rest[..] };
        if let Some(Judge { by, .. }) = judge.take_if(|judge| begun.len() >= judge.bytes) {
            by(begun)?;
        }
    }
    Ok((if rest.is_empty() { first } else { rest.freeze() }, taken))
}

/// The body of a stranger that is not complete stays only within the part of strangers: there, those from the address that
/// holds the most make room.
fn make_room(guest: Guest<'_>, taken: &Taken, bytes_max: usize) -> Result<(), Problem> {
    let needed = taken.too_much_of_strangers(bytes_max);
    let Guest { from, .. } = guest;
    let is_room = needed == 0 || from.connections.make_room_for_bytes(from.address, needed);
    if is_room { Ok(()) } else { Err(Problem::no_memory()) }
}

/// Takes in what may still come of a small body that was not read. Over HTTP/2, an answer before the end of the request
/// is followed by a reset of the stream, and some clients forget the answer then (curl before 8).
pub(super) async fn discard(body: &mut Incoming) {
    let mut left = DISCARDED_MAX;
    let discarding = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Some(still) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
            left = still;
        }
    };
    let _time_is_over = tokio::time::timeout(DISCARDING_MAX, discarding).await;
}

/// The media type of a body, without parameters and in lower case (RFC 9110, section 8.3.1); empty if there is none.
pub(super) fn media_type(headers: &HeaderMap) -> Cow<'_, str> {
    base::media_type(headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default())
}

/// Refuses a body that would have to be decoded first: no coding but `identity` is taken (RFC 9110, section 8.4).
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain = |value: &HeaderValue| {
        let codings = value.to_str().ok();
        codings.is_some_and(|codings| {
            codings
                .split(',')
                .map(str::trim)
                .all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
        })
    };
    let is_plain = headers.get_all(CONTENT_ENCODING).iter().all(is_plain);
    if is_plain { Ok(()) } else { Err(Problem::unsupported_encoding()) }
}
