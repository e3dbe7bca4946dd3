//! Reading the body of a request, bounded in size, time, and the memory of all bodies together.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::Problem;

/// What is taken in of a body that nobody reads, and for how long.
const DISCARDED_MAX: usize = 64 << 10;
const DISCARDING_MAX: Duration = Duration::from_millis(250);

/// The memory that all bodies which are read or held may take, of requests and of answers. A body takes of it what has
/// arrived, so that nobody takes more by announcing more; an answer has its part until the client has taken it.
#[derive(Debug)]
pub struct BodyMemory {
    taken: AtomicUsize,
    max: usize,
}

/// What one body has taken, given back when it drops.
#[derive(Debug)]
pub(super) struct Taken {
    of: Arc<BodyMemory>,
    bytes: usize,
}

impl BodyMemory {
    /// `max` bytes for all bodies.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), max })
    }

    /// How much is taken, in bytes.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Taken {
    pub(super) fn nothing(of: &Arc<BodyMemory>) -> Self {
        Self { of: Arc::clone(of), bytes: 0 }
    }

    /// How much it has.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes so much more. It is counted also where that is too much: what is at hand already is taken in any case.
    pub(super) fn more(&mut self, bytes: usize) -> Result<(), Problem> {
        let before = self.of.taken.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.of.max { Err(Problem::no_memory()) } else { Ok(()) }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) bytes_max: usize,
    pub(super) within: Duration,
    pub(super) memory: &'a Arc<BodyMemory>,
}

/// Reads all of a body; a length that is announced is checked before anything is read. Hold what it has taken for as
/// long as the bytes are needed.
pub(super) async fn read(
    headers: &HeaderMap,
    body: &mut Incoming,
    bounds: Bounds<'_>,
) -> Result<(Bytes, Taken), Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > bounds.bytes_max as u64) {
        return Err(Problem::too_large(bounds.bytes_max));
    }
    let read = tokio::time::timeout(bounds.within, collect(body, bounds.bytes_max, bounds.memory));
    read.await.unwrap_or_else(|_| Err(Problem::body_incomplete()))
}

async fn collect(
    body: &mut Incoming,
    bytes_max: usize,
    memory: &Arc<BodyMemory>,
) -> Result<(Bytes, Taken), Problem> {
    let mut taken = Taken::nothing(memory);
    // Most bodies come in one piece, which is not copied.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Problem::body_incomplete())?.into_data() else { continue };
        if data.len() > bytes_max - taken.bytes {
            return Err(Problem::too_large(bytes_max));
        }
        taken.more(data.len())?;
        if first.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&data);
    }
    Ok((if rest.is_empty() { first } else { rest.freeze() }, taken))
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
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let value = value.split(';').next().unwrap_or_default().trim();
    match value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => value.to_ascii_lowercase().into(),
        false => value.into(),
    }
}
