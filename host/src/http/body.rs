//! Reading the body of a request, bounded in size and time.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::Problem;

/// Reads all of a body; a length that is announced is checked before anything is read.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Incoming,
    bytes_max: usize,
    within: Duration,
) -> Result<Bytes, Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > bytes_max as u64) {
        return Err(Problem::too_large(bytes_max));
    }
    match tokio::time::timeout(within, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::too_large(bytes_max)),
        Ok(Err(_)) | Err(_) => Err(Problem::body_incomplete()),
    }
}

/// The media type of a body, without parameters; empty if there is none.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}
