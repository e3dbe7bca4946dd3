//! Responses: errors, results as JSON, and documents with an entity tag.

mod conditional;
mod problem;
pub mod transcode;

pub use problem::Problem;

pub(crate) use conditional::{TaggedDocument, Tags};

/// A response with its whole body in memory.
pub(crate) type Response = http::Response<http_body_util::Full<bytes::Bytes>>;
