//! Responses: errors, results as JSON, and documents with an entity tag.

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

mod conditional;
mod problem;

pub use problem::Problem;

pub(crate) use conditional::{TaggedDocument, Tags};

/// A response with its whole body in memory.
pub(crate) type Response = http::Response<Bytes>;

/// Returns a response with a body of the media type `content_type`.
pub(crate) fn with_body(content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
