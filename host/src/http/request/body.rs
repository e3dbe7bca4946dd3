//! Reading the body of a request, bounded in size, time, and the memory of all bodies together.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};

use super::ConnectionInfo;
use crate::base;
use crate::http::limits::{BodyMemory, InFlight, MemoryPermit, OutOfMemory};
use crate::http::response::Problem;

/// Maximum number of bytes that are read of a body which is not needed, and the time for it.
const DISCARDED_MAX: usize = 64 << 10;
const DISCARDING_MAX: Duration = Duration::from_millis(250);

/// Bounds on a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub(crate) bytes_max: usize,
    pub(crate) within: Duration,
    pub(crate) memory: &'a Arc<BodyMemory>,
    /// The request and its connection, if it can be a stranger's.
    pub(crate) client: Option<(&'a InFlight, &'a ConnectionInfo)>,
}

/// A check of the first bytes of a body, before the others are read.
#[derive(Clone, Copy)]
pub(crate) struct Check<'a> {
    pub(crate) bytes: usize,
    pub(crate) by: &'a (dyn Fn(&[u8]) -> Result<(), Problem> + Sync),
}

/// Reads a whole body; an announced length is checked before anything is read. Hold the permit for as long as the bytes
/// are needed.
pub(crate) async fn read(
    announced: Option<u64>,
    body: &mut Incoming,
    bounds: Bounds<'_>,
    check: Option<Check<'_>>,
) -> Result<(Bytes, MemoryPermit), Problem> {
    if announced.is_some_and(|announced| announced > bounds.bytes_max as u64) {
        return Err(Problem::too_large(bounds.bytes_max));
    }
    let read = tokio::time::timeout(bounds.within, collect(body, bounds, check));
    read.await.unwrap_or_else(|_| Err(Problem::body_incomplete()))
}

/// Returns the length that a head announces.
pub(crate) fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

async fn collect(
    body: &mut Incoming,
    bounds: Bounds<'_>,
    mut check: Option<Check<'_>>,
) -> Result<(Bytes, MemoryPermit), Problem> {
    let stranger = bounds.client.filter(|(in_flight, _)| in_flight.is_strangers());
    let mut permit = MemoryPermit::new(bounds.memory, stranger.is_some());
    let mut awaiting = None;
    // Most bodies come in one piece, which is not copied.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !body.is_end_stream() {
        let frame = match body.frame().now_or_never() {
            Some(frame) => frame,
            None => {
                // The piece is a part of what was read from the connection, and would hold all of it.
                rest.extend_from_slice(&std::mem::take(&mut first));
                if let Some((in_flight, from)) = stranger {
                    make_room(from, &permit, bounds.bytes_max)?;
                    let awaiting = awaiting.get_or_insert_with(|| in_flight.awaits());
                    awaiting.has(permit.bytes());
                }
                body.frame().await
            }
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| Problem::body_incomplete())?.into_data() else { continue };
        if data.len() > bounds.bytes_max - permit.bytes() {
            return Err(Problem::too_large(bounds.bytes_max));
        }
        permit.grow(data.len())?;
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
        let begun = if rest.is_empty() { &first[..] } else { &rest[..] };
        if let Some(Check { by, .. }) = check.take_if(|check| begun.len() >= check.bytes) {
            by(begun)?;
        }
    }
    Ok((if rest.is_empty() { first } else { rest.freeze() }, permit))
}

/// Keeps the incomplete bodies of strangers within their share of the memory: connections from the address that holds the
/// most are evicted.
fn make_room(from: &ConnectionInfo, permit: &MemoryPermit, bytes_max: usize) -> Result<(), Problem> {
    let needed = permit.too_much_of_strangers(bytes_max);
    let is_room = needed == 0 || from.connections.make_room_for_bytes(from.address, needed);
    if is_room { Ok(()) } else { Err(OutOfMemory.into()) }
}

/// Reads the rest of a small body that was not needed. Over HTTP/2, a response before the end of the request is followed
/// by a reset of the stream, and some clients drop the response then (curl before 8).
pub(crate) async fn discard(body: &mut Incoming) {
    let mut rest = Limited::new(body, DISCARDED_MAX);
    let discarding = async { while let Some(Ok(_)) = rest.frame().await {} };
    let _time_is_over = tokio::time::timeout(DISCARDING_MAX, discarding).await;
}

/// Returns the media type of a body, without parameters and in lower case (RFC 9110, section 8.3.1); empty if there is none.
pub(crate) fn media_type(headers: &HeaderMap) -> Cow<'_, str> {
    base::media_type(headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default())
}

/// Refuses a body that would have to be decoded first: only the coding `identity` is accepted (RFC 9110, section 8.4).
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let values = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    let mut codings = values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let is_plain = codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"));
    if is_plain { Ok(()) } else { Err(Problem::unsupported_encoding()) }
}
