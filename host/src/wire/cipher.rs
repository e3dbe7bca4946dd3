//! XChaCha20-Poly1305 behind two functions: the one place that knows which crate does it.
//!
//! The portable RustCrypto implementation. Another backend replaces this file alone and is checked by the
//! same vectors.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};

use super::error::OpenError;

/// Length of a key in bytes.
pub(super) const KEY_BYTES: usize = 32;
/// Length of a nonce in bytes: long enough to be random for every message.
pub(super) const NONCE_BYTES: usize = 24;
/// Length of the tag in bytes.
pub const TAG_BYTES: usize = 16;

/// One key, ready for use; wiped when it is dropped (feature `zeroize` of `chacha20poly1305`).
pub(super) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    /// Takes the key over.
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Encrypts `text` in place and returns the tag over it and `header`.
    ///
    /// # Panics
    /// For a text of 256 GiB and more, the most that one nonce may cover.
    pub(super) fn seal(&self, nonce: &[u8; NONCE_BYTES], header: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        self.0
            .encrypt_inout_detached(nonce.into(), header, text.into())
            .expect("a message in memory is shorter than 256 GiB, the only thing that is refused")
            .into()
    }

    /// Checks the tag over `header` and `text`, and only then decrypts `text` in place.
    ///
    /// # Errors
    /// [`OpenError::NotAuthentic`] for another tag; `text` is then as it was.
    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        header: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), OpenError> {
        self.0
            .decrypt_inout_detached(nonce.into(), header, text.into(), tag.into())
            .map_err(|_| OpenError::NotAuthentic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn the_example_of_the_draft_is_reproduced() {
        let mut key = [0; KEY_BYTES];
        key.iter_mut().zip(0x80..).for_each(|(byte, value)| *byte = value);
        let mut nonce = [0; NONCE_BYTES];
        nonce.iter_mut().zip(0x40..).for_each(|(byte, value)| *byte = value);
        let header = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let plain = *b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
            for the future, sunscreen would be it.";
        let mut text = plain;
        let cipher = Cipher::new(&key);
        let tag = cipher.seal(&nonce, &header, &mut text);
        assert_eq!(text[..8], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
        assert_eq!(
            tag,
            [0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79, 0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a, 0xcf, 0x49]
        );
        cipher.open(&nonce, &header, &mut text, &tag).unwrap();
        assert_eq!(text, plain);
    }

    #[test]
    fn a_wrong_tag_leaves_the_text_as_it_was() {
        let cipher = Cipher::new(&[1; KEY_BYTES]);
        let mut text = *b"ciphertext";
        let refused = cipher.open(&[2; NONCE_BYTES], b"", &mut text, &[3; TAG_BYTES]);
        assert_eq!(refused, Err(OpenError::NotAuthentic));
        assert_eq!(&text, b"ciphertext");
    }
}
