//! The frame: 64 bytes of header in clear, ciphertext, tag (WIRE.md, "Frame").
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic `FXW1`; the digit is the version |
//! | 4 | 1 | kind: 1 request, 2 response |
//! | 5 | 1 | flags: bit 0 is lz4, the others are 0 |
//! | 6 | 2 | zero |
//! | 8 | 8 | key id |
//! | 16 | 16 | request id |
//! | 32 | 8 | sent-at, Unix time in milliseconds |
//! | 40 | 24 | nonce |
//! | 64 | n | ciphertext |
//! | 64 + n | 16 | tag |
//!
//! Integers are little-endian; the header as sent is the associated data.
//! Sealing and opening happen in place: no byte is copied, and nothing is allocated here.

use bytes::{Buf as _, BytesMut};

use crate::base::RequestId;

use super::cipher::{Cipher, NONCE_BYTES, TAG_BYTES};
use super::error::OpenError;
use super::keys::KeyId;

/// Length of the header in bytes; a frame under construction keeps as many free in front.
pub const HEADER_BYTES: usize = 64;
/// The version of the wire that this host speaks.
pub const VERSION: u8 = 1;

/// The magic of this version.
const MAGIC: [u8; 4] = [b'F', b'X', b'W', b'0' + VERSION];
/// Flag bit 0: the plaintext is a length and an LZ4 block.
const FLAG_LZ4: u8 = 1;

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Sealed with the request key.
    Request = 1,
    /// Sealed with the response key.
    Response = 2,
}

/// The header, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// True if the plaintext is an uncompressed length and an LZ4 block.
    pub(super) compressed: bool,
    pub(super) key_id: KeyId,
    pub(super) request_id: RequestId,
    /// Unix time in milliseconds by the sender's clock.
    pub(super) sent_at_ms: u64,
    pub(super) nonce: [u8; NONCE_BYTES],
}

impl Header {
    /// Reads the header of a whole frame; whether it is authentic only [`open`] can tell.
    ///
    /// # Errors
    /// [`OpenError::Incompatible`] for the magic of another version, with any content after it;
    /// [`OpenError::NotAuthentic`] for everything else that is not as described.
    pub(super) fn parse(frame: &[u8]) -> Result<Self, OpenError> {
        let header = Self::parse_clear(frame)?;
        if frame.len() < HEADER_BYTES + TAG_BYTES { Err(OpenError::NotAuthentic) } else { Ok(header) }
    }

    /// Reads a header, with any number of bytes after it, even none yet.
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub(super) fn parse_clear(frame: &[u8]) -> Result<Self, OpenError> {
        if let [b'F', b'X', b'W', digit @ b'0'..=b'9', ..] = *frame
            && digit != MAGIC[3]
        {
            return Err(OpenError::Incompatible { version: digit - b'0' });
        }
        let (header, _) = frame.split_first_chunk::<HEADER_BYTES>().ok_or(OpenError::NotAuthentic)?;
        let kind = match header[4] {
            1 => Kind::Request,
            2 => Kind::Response,
            _ => return Err(OpenError::NotAuthentic),
        };
        if header[..4] != MAGIC || header[5] & !FLAG_LZ4 != 0 || header[6..8] != [0, 0] {
            return Err(OpenError::NotAuthentic);
        }
        Ok(Self {
            kind,
            compressed: header[5] & FLAG_LZ4 != 0,
            key_id: field(header, 8),
            request_id: RequestId(field(header, 16)),
            sent_at_ms: u64::from_le_bytes(field(header, 32)),
            nonce: field(header, 40),
        })
    }

    /// The bytes as sent.
    fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = self.kind as u8;
        bytes[5] = u8::from(self.compressed) * FLAG_LZ4;
        bytes[8..16].copy_from_slice(&self.key_id);
        bytes[16..32].copy_from_slice(&self.request_id.0);
        bytes[32..40].copy_from_slice(&self.sent_at_ms.to_le_bytes());
        bytes[40..].copy_from_slice(&self.nonce);
        bytes
    }
}

/// Seals a frame in place.
///
/// `frame` has [`HEADER_BYTES`] of any content, then the plaintext, and should have [`TAG_BYTES`] of spare
/// capacity, or it is reallocated.
pub(super) fn seal(cipher: &Cipher, header: &Header, mut frame: Vec<u8>) -> Vec<u8> {
    let (clear, text) = frame.split_at_mut(HEADER_BYTES);
    clear.copy_from_slice(&header.to_bytes());
    let tag = cipher.seal(&header.nonce, clear, text);
    frame.extend_from_slice(&tag);
    frame
}

/// Opens a frame in place and returns its plaintext, still compressed if `header` says so.
///
/// # Errors
/// [`OpenError::NotAuthentic`].
pub(super) fn open(cipher: &Cipher, header: &Header, mut frame: BytesMut) -> Result<BytesMut, OpenError> {
    let (clear, sealed) = frame.split_at_mut_checked(HEADER_BYTES).ok_or(OpenError::NotAuthentic)?;
    let (text, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(OpenError::NotAuthentic)?;
    cipher.open(&header.nonce, clear, text, tag)?;
    frame.truncate(frame.len() - TAG_BYTES);
    frame.advance(HEADER_BYTES);
    Ok(frame)
}

/// Copies the `N` bytes at `offset` out of a header.
fn field<const N: usize>(header: &[u8; HEADER_BYTES], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[offset..offset + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Response,
            compressed: true,
            key_id: [1; 8],
            request_id: RequestId([2; 16]),
            sent_at_ms: 0x0102_0304_0506_0708,
            nonce: [3; NONCE_BYTES],
        }
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let mut frame = header().to_bytes().to_vec();
        frame.extend([0; TAG_BYTES]);
        assert_eq!(Header::parse(&frame), Ok(header()));
        assert_eq!(frame[32..40], [8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn another_version_is_incompatible_however_short_the_frame() {
        assert_eq!(Header::parse(b"FXW2"), Err(OpenError::Incompatible { version: 2 }));
        assert_eq!(Header::parse(b"FXW0 and so on"), Err(OpenError::Incompatible { version: 0 }));
        for other in [&b"FXW1"[..], b"FXWx", b"FXV2", b"FXW", b""] {
            assert_eq!(Header::parse(other), Err(OpenError::NotAuthentic), "{other:?}");
        }
    }

    #[test]
    fn unknown_kinds_flags_and_filled_gaps_are_not_authentic() {
        let good = [&header().to_bytes()[..], &[0; TAG_BYTES]].concat();
        for (offset, value) in [(4, 0), (4, 3), (5, 2), (5, 0x81), (6, 1), (7, 1)] {
            let mut frame = good.clone();
            frame[offset] = value;
            assert_eq!(Header::parse(&frame), Err(OpenError::NotAuthentic), "byte {offset} = {value}");
        }
    }

    #[test]
    fn sealing_allocates_nothing_and_opening_gives_the_text_back() {
        let cipher = Cipher::new(&[9; 32]);
        let mut frame = Vec::with_capacity(HEADER_BYTES + 5 + TAG_BYTES);
        frame.resize(HEADER_BYTES, 0);
        frame.extend(b"hello");
        let (start, capacity) = (frame.as_ptr(), frame.capacity());
        let sealed = seal(&cipher, &header(), frame);
        assert_eq!((sealed.as_ptr(), sealed.capacity()), (start, capacity));
        let received = BytesMut::from(&sealed[..]);
        let start = received.as_ptr();
        let text = open(&cipher, &header(), received).unwrap();
        assert_eq!(&text[..], b"hello");
        assert_eq!(text.as_ptr(), start.wrapping_add(HEADER_BYTES));
    }
}
