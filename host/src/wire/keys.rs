//! From a configured secret to keys (WIRE.md, "Keys").
//!
//! Deriving a key set from a passphrase takes tens of milliseconds and 19 MiB; it is done at start, never
//! per message. Key material is wiped when it is dropped and shows in no `Debug`.

use std::fmt;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::cipher::{Cipher, KEY_BYTES};
use super::error::KeyError;

/// The name of a frame's keys; not secret.
pub type KeyId = [u8; KEY_ID_BYTES];

/// A key id as people compare it: 16 hex digits, in the order of the wire.
pub fn key_id_text(id: KeyId) -> String {
    format!("{:016x}", u64::from_be_bytes(id))
}

/// Length of a key id in bytes.
const KEY_ID_BYTES: usize = 8;
/// The beginning of every generated secret.
const GENERATED_PREFIX: &str = "fxk1_";
/// Base64url characters of a generated secret after the prefix: 32 bytes without padding.
const GENERATED_CHARS: usize = 43;
/// Argon2id's salt. It is fixed, since both sides have to arrive at the same keys from the secret alone.
const PASSPHRASE_SALT: &[u8] = b"framex-wire-v1";
/// HKDF's info.
const KEYS_INFO: &[u8] = b"framex-wire-v1 keys";

/// The keys that one configured secret gives.
pub struct KeySet {
    id: KeyId,
    passphrase: bool,
    /// Seals and opens requests.
    pub(super) request: Cipher,
    /// Seals and opens responses.
    pub(super) response: Cipher,
}

impl KeySet {
    /// Derives the keys of `secret`: one from [`generate_secret`], or a passphrase.
    ///
    /// A passphrase costs tens of milliseconds of CPU and 19 MiB for that time: not on an async worker.
    ///
    /// # Errors
    /// [`KeyError::Empty`], [`KeyError::Malformed`], or [`KeyError::Passphrase`] without memory.
    ///
    /// # Panics
    /// Never: HKDF refuses only outputs above 8160 bytes.
    pub fn derive(secret: &str) -> Result<Self, KeyError> {
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        let (master, passphrase) = match secret.strip_prefix(GENERATED_PREFIX) {
            Some(encoded) => (generated_master(encoded)?, false),
            None => (passphrase_master(secret)?, true),
        };
        let mut keys = Zeroizing::new([[0; KEY_BYTES]; 2]);
        let mut output = Zeroizing::new([0; KEY_ID_BYTES + 2 * KEY_BYTES]);
        Hkdf::<Sha256>::new(None, &*master)
            .expand(KEYS_INFO, &mut *output)
            .expect("72 bytes are fewer than the 8160 that HKDF-SHA256 gives");
        let (id, rest) = output.split_at(KEY_ID_BYTES);
        let (request, response) = rest.split_at(KEY_BYTES);
        let mut key_id = [0; KEY_ID_BYTES];
        key_id.copy_from_slice(id);
        keys[0].copy_from_slice(request);
        keys[1].copy_from_slice(response);
        Ok(Self { id: key_id, passphrase, request: Cipher::new(&keys[0]), response: Cipher::new(&keys[1]) })
    }

    /// Returns the id by which frames name these keys.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Returns true if the secret was a passphrase, which can be guessed: `check` warns about it.
    pub const fn is_passphrase(&self) -> bool {
        self.passphrase
    }
}

/// By their id, which is derived from the secret along with the keys.
impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for KeySet {}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("id", &format_args!("{}", key_id_text(self.id)))
            .field("passphrase", &self.passphrase)
            .finish_non_exhaustive()
    }
}

/// The key sets of one rule: the first seals, all of them open, so that keys rotate without a gap.
#[derive(Debug, Clone)]
pub struct KeyRing {
    sealing: Arc<KeySet>,
    others: Vec<Arc<KeySet>>,
}

impl KeyRing {
    /// Takes the key sets in the order of the secrets in the rule.
    ///
    /// # Errors
    /// [`KeyError::NoKeys`] for an empty list.
    pub fn new(keys: Vec<Arc<KeySet>>) -> Result<Self, KeyError> {
        let mut keys = keys.into_iter();
        let sealing = keys.next().ok_or(KeyError::NoKeys)?;
        Ok(Self { sealing, others: keys.collect() })
    }

    /// The key set that seals.
    pub const fn sealing(&self) -> &Arc<KeySet> {
        &self.sealing
    }

    /// The key set with that id. Rings are short, and ids are public: a plain search.
    pub fn find(&self, id: KeyId) -> Option<&Arc<KeySet>> {
        std::iter::once(&self.sealing).chain(&self.others).find(|keys| keys.id == id)
    }
}

/// A new secret for a config file: `fxk1_` and 32 random bytes in base64url.
pub fn generate_secret() -> String {
    let master: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(rand::random());
    let mut secret = String::with_capacity(GENERATED_PREFIX.len() + GENERATED_CHARS);
    secret.push_str(GENERATED_PREFIX);
    URL_SAFE_NO_PAD.encode_string(*master, &mut secret);
    secret
}

/// The 32 bytes of a generated secret, strictly: no padding, no stray bits, no other length.
fn generated_master(encoded: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    // One byte more than is needed, since base64 asks for its own upper estimate; other lengths do not fit.
    let mut decoded = Zeroizing::new([0; KEY_BYTES + 1]);
    let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut *decoded).map_err(|_| KeyError::Malformed)?;
    let master = decoded[..length].try_into().map_err(|_| KeyError::Malformed)?;
    Ok(Zeroizing::new(master))
}

/// Argon2id with the smallest parameters that OWASP recommends (19 MiB, 2 passes, 1 lane).
fn passphrase_master(secret: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let params = Params::new(19_456, 2, 1, Some(KEY_BYTES)).map_err(KeyError::Passphrase)?;
    let mut master = Zeroizing::new([0; KEY_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(secret.as_bytes(), PASSPHRASE_SALT, &mut *master)
        .map_err(KeyError::Passphrase)?;
    Ok(master)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::exchange::vectors;

    const SECRET: &str = "fxk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    #[test]
    fn every_key_vector_is_reproduced() {
        let vectors = vectors::load();
        assert!(!vectors.keys.is_empty());
        for vector in vectors.keys {
            let generated = vector.secret.strip_prefix(GENERATED_PREFIX);
            let master = match generated {
                Some(encoded) => generated_master(encoded).unwrap(),
                None => passphrase_master(&vector.secret).unwrap(),
            };
            assert_eq!(master.as_slice(), vector.master, "{}", vector.secret);
            let keys = KeySet::derive(&vector.secret).unwrap();
            assert_eq!(keys.id().as_slice(), vector.key_id, "{}", vector.secret);
            assert_eq!(keys.is_passphrase(), generated.is_none());
            assert_same_cipher(&keys.request, &vector.request_key);
            assert_same_cipher(&keys.response, &vector.response_key);
        }
    }

    /// A cipher does not give its key away: what it seals shows which one it has.
    fn assert_same_cipher(cipher: &Cipher, key: &[u8]) {
        let (mut text, mut expected) = ([7; 40], [7; 40]);
        let tag = cipher.seal(&[1; 24], b"header", &mut text);
        let expected_tag = Cipher::new(key.try_into().unwrap()).seal(&[1; 24], b"header", &mut expected);
        assert_eq!((text, tag), (expected, expected_tag));
    }

    #[test]
    fn a_malformed_generated_secret_is_never_a_passphrase() {
        let stray_bits = format!("{}9", &SECRET[..SECRET.len() - 1]);
        for bad in [
            "fxk1_",
            "fxk1_short",
            &format!("{SECRET}="),
            &format!("{SECRET}A"),
            &SECRET[..SECRET.len() - 1],
            &SECRET.replace("AAEC", "AA+C"),
            &SECRET.replace("AAEC", "AA C"),
            &SECRET.replace("AAEC", "A\u{e4}C"),
            &stray_bits,
        ] {
            assert_eq!(KeySet::derive(bad).unwrap_err(), KeyError::Malformed, "{bad}");
        }
        assert_eq!(KeySet::derive("").unwrap_err(), KeyError::Empty);
    }

    #[test]
    fn generated_secrets_are_usable_and_differ() {
        let (first, second) = (generate_secret(), generate_secret());
        assert_ne!(first, second);
        let keys = KeySet::derive(&first).unwrap();
        assert!(!keys.is_passphrase());
        assert_ne!(keys.id(), KeySet::derive(&second).unwrap().id());
    }

    #[test]
    fn debug_shows_the_id_and_nothing_else() {
        let keys = KeySet::derive(SECRET).unwrap();
        assert_eq!(format!("{keys:?}"), "KeySet { id: 1f15f1d7e2ba2734, passphrase: false, .. }");
    }

    #[test]
    fn a_ring_seals_with_the_first_and_finds_all() {
        let sets: Vec<_> = (0..3).map(|_| Arc::new(KeySet::derive(&generate_secret()).unwrap())).collect();
        let ring = KeyRing::new(sets.clone()).unwrap();
        assert_eq!(ring.sealing().id(), sets[0].id());
        for keys in &sets {
            assert_eq!(ring.find(keys.id()).unwrap().id(), keys.id());
        }
        assert!(ring.find([0; 8]).is_none());
        assert_eq!(KeyRing::new(Vec::new()).unwrap_err(), KeyError::NoKeys);
    }
}
