//! Requests and responses from values to frames and back: what hosts call.

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;

use crate::base::RequestId;

use super::compression::{Compression, EXPANSION_MAX, claimed_bytes, compress, decompress};
use super::error::{DecodeError, OpenError, ResponseError};
use super::frame::{Header, Kind, open, seal};
use super::keys::{KeyId, KeyRing, KeySet};
use super::reader::NESTING_MAX;
use super::request::RequestEnvelope;
use super::response::ResponseEnvelope;
use super::writer::Writer;

/// Limits on the content of an authentic frame. The body was bounded while it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest plaintext, uncompressed, in bytes.
    pub plaintext_bytes_max: usize,
    /// Most bytes that one byte of a compressed plaintext may stand for; more than 255 is more than LZ4 can do.
    pub expansion_max: usize,
    /// Most lists and maps inside each other in arguments, the outermost counted; at most [`super::NESTING_MAX`].
    pub nesting_max: usize,
}

impl Limits {
    /// Returns the limits of the wire itself, for plaintexts of at most the given number of bytes.
    pub const fn of_size(plaintext_bytes_max: usize) -> Self {
        Self { plaintext_bytes_max, expansion_max: EXPANSION_MAX, nesting_max: NESTING_MAX }
    }
}

/// A request that is authentic; whether it is fresh and new is still to be asked ([`super::ReplayGuard`]).
#[derive(Debug)]
pub struct OpenedRequest {
    /// The keys that opened it, which also seal the answer.
    pub key: Arc<KeySet>,
    /// Names the call; the answer repeats it.
    pub request_id: RequestId,
    /// Unix time in milliseconds by the sender's clock.
    pub sent_at_ms: u64,
    /// The content, not yet decoded: moved out of here, so that key and id stay for the answer.
    pub plaintext: Plaintext,
}

/// The authentic content of a frame, neither decompressed nor decoded. `Debug` shows only its length.
pub struct Plaintext {
    bytes: BytesMut,
    compressed: bool,
}

impl Plaintext {
    /// Decompresses and decodes a request: the step after freshness and replay were checked.
    ///
    /// # Errors
    /// [`DecodeError`], which [`DecodeError::to_failure`] turns into what the sender is told.
    pub fn decode_request(self, limits: &Limits) -> Result<RequestEnvelope, DecodeError> {
        RequestEnvelope::decode(self.expand(limits)?, limits.nesting_max)
    }

    /// The bytes that it takes once it is decompressed, if it tells the truth, and no more than the limit lets it have.
    pub fn expanded_bytes(&self, limits: &Limits) -> usize {
        let bytes = if self.compressed { claimed_bytes(&self.bytes) } else { self.bytes.len() };
        bytes.min(limits.plaintext_bytes_max)
    }

    fn expand(self, limits: &Limits) -> Result<BytesMut, DecodeError> {
        let bytes_max = limits.plaintext_bytes_max;
        if self.compressed {
            return decompress(&self.bytes, bytes_max, limits.expansion_max);
        }
        if self.bytes.len() > bytes_max {
            return Err(DecodeError::TooLarge { bytes: self.bytes.len(), bytes_max });
        }
        Ok(self.bytes)
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plaintext")
            .field("bytes", &self.bytes.len())
            .field("compressed", &self.compressed)
            .finish()
    }
}

/// Seals one attempt of a call: a new request id and a new nonce, stamped `now_ms`.
///
/// `now_ms` is Unix time by the clock of the peer.
/// Returns the id that the response has to repeat, and the frame.
/// Fields over the limits of [`RequestEnvelope`] are sealed as they are, and refused by the peer.
pub fn seal_request(
    key: &KeySet,
    now_ms: u64,
    envelope: &RequestEnvelope,
    compression: Compression,
) -> (RequestId, Vec<u8>) {
    let request_id = RequestId::random();
    let header = Header {
        kind: Kind::Request,
        compressed: false,
        key_id: key.id(),
        request_id,
        sent_at_ms: now_ms,
        nonce: rand::random(),
    };
    (request_id, seal_envelope(key, header, envelope.encode(), compression))
}

/// Looks at the first [`HEADER_BYTES`](super::HEADER_BYTES) of what is still arriving: whether it can become a request that
/// a key of the ring opens. Nothing is proven by that.
///
/// # Errors
/// As [`open_request`], which refuses all that this does.
pub fn look_at_request(ring: &KeyRing, begun: &[u8]) -> Result<(), OpenError> {
    let header = Header::parse_clear(begun)?;
    find(ring, &header).map(|_| ())
}

fn find<'a>(ring: &'a KeyRing, header: &Header) -> Result<&'a Arc<KeySet>, OpenError> {
    if header.kind != Kind::Request {
        return Err(OpenError::NotAuthentic);
    }
    ring.find(header.key_id).ok_or(OpenError::NotAuthentic)
}

/// The key that a request names by its first bytes, where that is not in `ring`: for operators, as the sender is told
/// nothing of it.
pub fn unknown_key(ring: &KeyRing, begun: &[u8]) -> Option<KeyId> {
    let header = Header::parse_clear(begun).ok()?;
    let is_unknown = header.kind == Kind::Request && ring.find(header.key_id).is_none();
    is_unknown.then_some(header.key_id)
}

/// Opens the body of a request: WIRE.md, "Order on receipt", steps 2 to 4.
///
/// Works inside `body`: nothing is copied, and nothing allocated.
///
/// # Errors
/// [`OpenError::Incompatible`] for a frame of another version, [`OpenError::NotAuthentic`] for every other
/// fault, without saying which.
pub fn open_request(ring: &KeyRing, body: BytesMut) -> Result<OpenedRequest, OpenError> {
    let header = Header::parse(&body)?;
    let key = find(ring, &header)?;
    let bytes = open(&key.request, &header, body)?;
    Ok(OpenedRequest {
        key: Arc::clone(key),
        request_id: header.request_id,
        sent_at_ms: header.sent_at_ms,
        plaintext: Plaintext { bytes, compressed: header.compressed },
    })
}

/// Seals the answer to the request `request_id`, with the keys that opened it; `now_ms` is Unix time.
pub fn seal_response(
    key: &KeySet,
    request_id: RequestId,
    now_ms: u64,
    envelope: &ResponseEnvelope,
    compression: Compression,
) -> Vec<u8> {
    let header = Header {
        kind: Kind::Response,
        compressed: false,
        key_id: key.id(),
        request_id,
        sent_at_ms: now_ms,
        nonce: rand::random(),
    };
    seal_envelope(key, header, envelope.encode(), compression)
}

/// Opens and decodes the answer to the request `expected`, which `key` sealed.
///
/// It ignores the stamp: an answer that repeats a random id is not older than the request.
///
/// # Errors
/// [`ResponseError::Open`] for what is not authentic, not a response, of other keys, or the answer to
/// another request; [`ResponseError::Decode`] for authentic bytes that are not a response.
pub fn open_response(
    key: &KeySet,
    expected: RequestId,
    body: BytesMut,
    limits: &Limits,
) -> Result<ResponseEnvelope, ResponseError> {
    let header = Header::parse(&body)?;
    if header.kind != Kind::Response || header.key_id != key.id() || header.request_id != expected {
        return Err(OpenError::NotAuthentic.into());
    }
    let bytes = open(&key.response, &header, body)?;
    let plaintext = Plaintext { bytes, compressed: header.compressed };
    Ok(ResponseEnvelope::decode(plaintext.expand(limits)?)?)
}

/// Compresses what pays, then seals with the key for that kind of frame.
fn seal_envelope(key: &KeySet, header: Header, envelope: Writer, compression: Compression) -> Vec<u8> {
    let (frame, compressed) = compress(envelope.into_frame(), compression);
    let cipher = match header.kind {
        Kind::Request => &key.request,
        Kind::Response => &key.response,
    };
    seal(cipher, &Header { compressed, ..header }, frame)
}

/// Seals any bytes as what an authentic sender says: a request, or the answer to one; for fuzzing.
#[cfg(feature = "fuzzing")]
pub fn seal_bytes(key: &KeySet, answers: Option<RequestId>, compressed: bool, plaintext: &[u8]) -> Vec<u8> {
    let (kind, cipher) = match answers {
        Some(_) => (Kind::Response, &key.response),
        None => (Kind::Request, &key.request),
    };
    let request_id = answers.unwrap_or_else(RequestId::random);
    let header =
        Header { kind, compressed, key_id: key.id(), request_id, sent_at_ms: 0, nonce: rand::random() };
    seal(cipher, &header, [&[0; super::HEADER_BYTES], plaintext].concat())
}

#[cfg(test)]
pub(super) mod vectors {
    //! `wire-vectors.json`, made by an independent implementation.

    use serde::{Deserialize, Deserializer};

    #[derive(Deserialize)]
    pub(in crate::wire) struct Vectors {
        pub(in crate::wire) keys: Vec<KeyVector>,
        pub(in crate::wire) frames: Vec<FrameVector>,
    }

    #[derive(Deserialize)]
    pub(in crate::wire) struct KeyVector {
        pub(in crate::wire) secret: String,
        #[serde(deserialize_with = "hex")]
        pub(in crate::wire) master: Vec<u8>,
        #[serde(deserialize_with = "hex")]
        pub(in crate::wire) key_id: Vec<u8>,
        #[serde(deserialize_with = "hex")]
        pub(in crate::wire) request_key: Vec<u8>,
        #[serde(deserialize_with = "hex")]
        pub(in crate::wire) response_key: Vec<u8>,
    }

    #[derive(Deserialize)]
    pub(in crate::wire) struct FrameVector {
        pub(in crate::wire) name: String,
        pub(in crate::wire) secret: String,
        pub(in crate::wire) kind: u8,
        #[serde(deserialize_with = "hex")]
        pub(in crate::wire) request_id: Vec<u8>,
        pub(in crate::wire) sent_at_ms: u64,
        #[serde(deserialize_with = "hex")]
        pub(in crate::wire) nonce: Vec<u8>,
        pub(in crate::wire) lz4: bool,
        #[serde(deserialize_with = "hex")]
        pub(in crate::wire) plaintext: Vec<u8>,
        #[serde(deserialize_with = "hex")]
        pub(in crate::wire) frame: Vec<u8>,
        pub(in crate::wire) note: String,
    }

    pub(in crate::wire) fn load() -> Vectors {
        serde_json::from_str(include_str!("../../tests-data/wire-vectors.json")).unwrap()
    }

    fn hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        assert_eq!(text.len() % 2, 0);
        Ok((0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect())
    }
}

#[cfg(test)]
mod tests;
