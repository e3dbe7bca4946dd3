//! LZ4 of plaintexts: a block behind its uncompressed length, never a frame (WIRE.md, "Plaintext").

use bytes::BytesMut;
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::cipher::TAG_BYTES;
use super::error::DecodeError;
use super::frame::HEADER_BYTES;

/// The compressed message, in error texts.
const FIELD: &str = "the compressed message";
/// Bytes of the uncompressed length in front of the block.
const LENGTH_BYTES: usize = 4;
/// No LZ4 block expands further: a length byte of a match stands for 255 bytes (LZ4 block format).
pub(super) const EXPANSION_MAX: usize = 255;

/// The compression of frames to one peer.
///
/// It costs more CPU than it saves on links faster than about 3 Gbit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Never.
    Never,
    /// Compresses where it pays: a long plaintext that shrinks by at least an eighth.
    Auto {
        /// Plaintexts shorter than this stay as they are, in bytes.
        bytes_min: usize,
    },
}

/// Compresses the plaintext of an unsealed frame ([`HEADER_BYTES`], then plaintext) if that pays;
/// returns the frame, new or as it was, and whether it is compressed now.
pub(super) fn compress(frame: Vec<u8>, compression: Compression) -> (Vec<u8>, bool) {
    let Compression::Auto { bytes_min } = compression else {
        return (frame, false);
    };
    let Some(plaintext) = frame.get(HEADER_BYTES..).filter(|text| text.len() >= bytes_min) else {
        return (frame, false);
    };
    let Ok(length) = u32::try_from(plaintext.len()) else {
        return (frame, false);
    };
    const BLOCK_START: usize = HEADER_BYTES + LENGTH_BYTES;
    // LZ4 wants room for the worst case; the zeroes come from the allocator.
    let mut smaller = vec![0; BLOCK_START + get_maximum_output_size(plaintext.len()) + TAG_BYTES];
    let Ok(block) = compress_into(plaintext, &mut smaller[BLOCK_START..]) else {
        return (frame, false);
    };
    if LENGTH_BYTES + block > plaintext.len() - plaintext.len().div_ceil(8) {
        return (frame, false);
    }
    smaller[HEADER_BYTES..BLOCK_START].copy_from_slice(&length.to_le_bytes());
    smaller.truncate(BLOCK_START + block);
    (smaller, true)
}

/// The length that a compressed plaintext claims to have uncompressed; 0 if it has no claim.
pub(super) fn claimed_bytes(compressed: &[u8]) -> usize {
    compressed.first_chunk::<LENGTH_BYTES>().map_or(0, |length| u32::from_le_bytes(*length) as usize)
}

/// Decompresses a plaintext into one buffer of exactly the length that it claims.
///
/// # Errors
/// [`DecodeError`] for a claim above `bytes_max` or above `expansion_max` times the block, both before anything is
/// allocated, and for one that is not exact.
pub(super) fn decompress(
    compressed: &[u8],
    bytes_max: usize,
    expansion_max: usize,
) -> Result<BytesMut, DecodeError> {
    let (length, block) =
        compressed.split_first_chunk::<LENGTH_BYTES>().ok_or(DecodeError::Truncated { field: FIELD })?;
    let claimed = u32::from_le_bytes(*length) as usize;
    if claimed > bytes_max {
        return Err(DecodeError::TooLarge { bytes: claimed, bytes_max });
    }
    if claimed > block.len().saturating_mul(expansion_max) {
        return Err(DecodeError::TooDense { expansion_max });
    }
    let mut plaintext = BytesMut::zeroed(claimed);
    match decompress_into(block, &mut plaintext) {
        Ok(length) if length == claimed => Ok(plaintext),
        _ => {
            Err(DecodeError::Invalid { field: FIELD, expected: "an LZ4 block of the length that it claims" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: Compression = Compression::Auto { bytes_min: 100 };

    fn frame(plaintext: &[u8]) -> Vec<u8> {
        [&[0; HEADER_BYTES], plaintext].concat()
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(length)
        .collect()
    }

    #[test]
    fn only_what_pays_is_compressed() {
        let repetitive = frame(&[7; 1000]);
        assert_eq!(compress(repetitive.clone(), Compression::Never), (repetitive.clone(), false));
        assert_eq!(compress(frame(&[7; 99]), AUTO), (frame(&[7; 99]), false));
        assert_eq!(compress(frame(&noise(1000)), AUTO), (frame(&noise(1000)), false));
        let (smaller, compressed) = compress(repetitive, AUTO);
        assert!(compressed && smaller.len() < HEADER_BYTES + 50, "{}", smaller.len());
        assert!(smaller.capacity() >= smaller.len() + TAG_BYTES);
        assert_eq!(decompress(&smaller[HEADER_BYTES..], 1000, EXPANSION_MAX).unwrap(), [7; 1000][..]);
    }

    /// The border of "smaller by at least an eighth", met from both sides.
    #[test]
    fn an_eighth_must_be_saved() {
        let (mut least, mut most_kept) = (usize::MAX, 0);
        for repeated in 0..1000 {
            let mut text = noise(1000);
            text[..repeated].fill(7);
            let (result, compressed) = compress(frame(&text), AUTO);
            let length = result.len() - HEADER_BYTES;
            if compressed {
                assert!(length <= 875, "{repeated} repeated bytes: {length}");
                least = least.min(repeated);
            } else {
                most_kept = most_kept.max(repeated);
            }
        }
        assert!((130..200).contains(&least), "{least}");
        assert!((130..200).contains(&most_kept), "{most_kept}");
    }

    #[test]
    fn dishonest_lengths_are_refused() {
        let mut block = compress(frame(&[7; 1000]), AUTO).0.split_off(HEADER_BYTES);
        let claim = |block: &mut Vec<u8>, length: u32| {
            block[..4].copy_from_slice(&length.to_le_bytes());
            decompress(block, 1_000_000, EXPANSION_MAX).map(|text| text.len())
        };
        assert_eq!(claim(&mut block, 1000), Ok(1000));
        let dense = claim(&mut block, 900_000);
        assert_eq!(dense, Err(DecodeError::TooDense { expansion_max: EXPANSION_MAX }));
        for wrong in [0, 1, 999, 1001] {
            let error = claim(&mut block, wrong).unwrap_err().to_string();
            assert_eq!(error, "the compressed message is not an LZ4 block of the length that it claims");
        }
        for huge in [1_000_001, u32::MAX] {
            let expected = DecodeError::TooLarge { bytes: huge as usize, bytes_max: 1_000_000 };
            assert_eq!(claim(&mut block, huge), Err(expected));
        }
    }

    #[test]
    fn truncated_and_garbled_blocks_are_refused() {
        let block = compress(frame(&[7; 1000]), AUTO).0.split_off(HEADER_BYTES);
        for length in 0..block.len() {
            assert!(decompress(&block[..length], 1000, EXPANSION_MAX).is_err(), "{length} bytes");
        }
        assert!(
            decompress(&[&1000_u32.to_le_bytes()[..], &[0xff; 30]].concat(), 1000, EXPANSION_MAX).is_err()
        );
    }
}
