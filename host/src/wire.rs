//! The sealed wire between hosts, version 1: frames, keys, envelopes and the replay guard.
//!
//! WIRE.md is normative; its vectors are reproduced in the tests of `wire/exchange.rs` and `wire/keys.rs`.
//!
//! Layer: above `base` and `config`, below everything that sends or receives. It must never do I/O or
//! read a clock (times are passed in), and nothing outside of it sees ciphertext.
//!
//! The way of a request on receipt (WIRE.md, "Order on receipt"): [`open_request`] is steps 2 to 4,
//! [`ReplayGuard::check`] steps 5 and 6, [`Plaintext::decode_request`] step 7.
//! Up to step 6 nothing is allocated that grows with what a frame claims.

mod check;
mod cipher;
mod compression;
mod error;
mod exchange;
mod frame;
mod keys;
mod reader;
mod replay;
mod request;
mod response;
mod writer;

pub use check::{ARGUMENT_NAME_BYTES_MAX, ARGUMENTS_MAX, check_arguments, check_value};
pub use cipher::TAG_BYTES;
pub use compression::Compression;
pub use error::{DecodeError, KeyError, LimitReached, OpenError, Refusal, ResponseError};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use exchange::seal_bytes;
pub use exchange::{
    Limits, OpenedRequest, Plaintext, look_at_request, open_request, open_response, seal_request,
    seal_response, unknown_key,
};
pub use frame::{HEADER_BYTES, VERSION};
pub use keys::{KeyId, KeyRing, KeySet, generate_secret, key_id_text};
pub use reader::NESTING_MAX;
pub use replay::ReplayGuard;
pub use request::{HOST_ID_BYTES_MAX, RequestEnvelope, RequestExtensions, TRACEPARENT_BYTES_MAX};
pub use response::{By, ResponseEnvelope, ResponseExtensions, decode_failure, encode_failure};

/// The media type of a sealed frame, request and response alike (WIRE.md, "Transport").
pub const CONTENT_TYPE: &str = "application/vnd.framex.sealed";

/// The header by which a host that cannot read a frame's version names its own.
pub const VERSION_HEADER: &str = "x-framex-wire";
