//! The signature that lies beside a plugin file, in the form of minisign.

use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::{Error as MinisignError, Signature};

use super::signature_file::{LEGACY_BYTES_MAX, SIGNATURE_BYTES_MAX, signature_path};
use super::trust_error::TrustError;
use crate::config::{MinisignKeyId, TrustedKey};
use crate::files::open_regular;

/// Longest comment of a signature that is shown, in characters.
const COMMENT_CHARS_MAX: usize = 200;
/// The readable parts of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureInfo {
    /// The key that it names.
    pub key_id: String,
    /// The comment that is signed along with the file.
    pub trusted_comment: String,
    /// True if a key of the config made it for this very file. Otherwise the comment may be forged.
    pub verified: bool,
}

/// A signature as it lay beside a plugin file.
pub(crate) struct FileSignature {
    pub(crate) bytes: Vec<u8>,
    signature: Signature,
    key_id: MinisignKeyId,
}

impl FileSignature {
    /// Reads the signature that lies beside a file.
    pub(crate) fn beside(file: &Path) -> Result<Self, TrustError> {
        let opened = open_regular(&signature_path(file)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TrustError::Unsigned,
            _ => TrustError::Unreadable(error.into()),
        })?;
        let (opened, _) = opened.ok_or(TrustError::NotASignature)?;
        let mut bytes = Vec::new();
        opened
            .take(SIGNATURE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| TrustError::Unreadable(error.into()))?;
        Self::parse(bytes)
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, TrustError> {
        if bytes.len() as u64 > SIGNATURE_BYTES_MAX {
            return Err(TrustError::SignatureTooLarge);
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| TrustError::NotASignature)?;
        let signature = Signature::decode(text).map_err(|_| TrustError::NotASignature)?;
        let second = text.lines().nth(1).and_then(|line| STANDARD.decode(line).ok());
        let key_id =
            second.and_then(|decoded| MinisignKeyId::of(&decoded)).ok_or(TrustError::NotASignature)?;
        Ok(Self { bytes, signature, key_id })
    }

    /// Verifies that one of the keys made it for these bytes. The outer error is an error of reading them.
    pub(crate) fn verify<R: Read>(
        &self,
        keys: &[TrustedKey],
        open: impl Fn() -> io::Result<R>,
    ) -> io::Result<Result<(), TrustError>> {
        let mut named = keys.iter().filter(|key| key.id == self.key_id).peekable();
        if named.peek().is_none() {
            let trusted = keys.iter().map(|key| key.id).collect();
            return Ok(Err(TrustError::OtherKey { found: self.key_id, trusted }));
        }
        // Nothing keeps two keys from having one id.
        for key in named {
            match self.is_by(key, open()?)? {
                Ok(false) => {}
                Ok(true) => return Ok(Ok(())),
                Err(distrust) => return Ok(Err(distrust)),
            }
        }
        Ok(Err(TrustError::Changed))
    }

    fn is_by(&self, key: &TrustedKey, mut bytes: impl Read) -> io::Result<Result<bool, TrustError>> {
        let mut verifier = match key.key.verify_stream(&self.signature) {
            Ok(verifier) => verifier,
            Err(MinisignError::UnsupportedLegacyMode) => {
                let mut whole = Vec::new();
                bytes.take(LEGACY_BYTES_MAX + 1).read_to_end(&mut whole)?;
                if whole.len() as u64 > LEGACY_BYTES_MAX {
                    return Ok(Err(TrustError::TooLargeForLegacy));
                }
                return Ok(Ok(key.key.verify(&whole, &self.signature, true).is_ok()));
            }
            Err(_) => return Ok(Ok(false)),
        };
        let mut chunk = vec![0; 256 * 1024];
        loop {
            match bytes.read(&mut chunk)? {
                0 => return Ok(Ok(verifier.finalize().is_ok())),
                read => verifier.update(&chunk[..read]),
            }
        }
    }

    pub(crate) fn info(&self, verified: bool) -> SignatureInfo {
        let comment = self.signature.trusted_comment().chars();
        SignatureInfo {
            key_id: self.key_id.to_string(),
            trusted_comment: comment.take(COMMENT_CHARS_MAX).collect(),
            verified,
        }
    }
}

#[cfg(test)]
pub(in crate::plugins) mod tests {
    use super::*;

    /// The public key of a secret key that was thrown away.
    pub(in crate::plugins) const KEY: &str = "RWTnCfPX0FCG070LGWlqsw7whx7psyJud83349hk+ySTg1JdD33fKiK3";
    /// Of a key of minisign's own examples.
    pub(in crate::plugins) const OTHER_KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    /// The signed bytes.
    pub(in crate::plugins) const SIGNED: &[u8] = b"test";
    /// By `minisign -S`.
    pub(in crate::plugins) const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
        RUTnCfPX0FCG03zrUhii25bQuP27Md1MbCUKzu0m7LojNNq+I9aEmYwG+auUWvEwSLK5M1rjY95dRTDBXpBqFf7hrRMJoaTL/Q4=\n\
        trusted comment: a prehashed one\n\
        QBrhYZZhFe3pgtZgUKtGBhPhrIKOLgPxo6uS/zVjrvWeJ656z8PntzJvedkIjlQ6WsCnRrMtIVrGO9sDEFnPAw==\n";
    /// By `minisign -S -l`.
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWTnCfPX0FCG05FEipm1yJZv69T+2boHDxnuCoQQsIk0FMIp/k11pbFijW28dWp820q71kw+MtO3a6rfStxo/jhnhxtjVtrERQs=\n\
        trusted comment: a legacy one\n\
        b8T7fMHRF7GZ3anDfLUeZMronRNX1sUYRbyIfbMgRLICkxcEgLnL0ao6NFLrs/jgkFOdo7frGkxvPUNj7QElAw==\n";

    fn verify(signature: &str, keys: &[&str], bytes: &[u8]) -> Result<(), TrustError> {
        let keys: Vec<_> = keys.iter().map(|key| TrustedKey::from_base64(key).unwrap()).collect();
        FileSignature::parse(signature.into())?.verify(&keys, || Ok(bytes)).unwrap()
    }

    #[test]
    fn both_kinds_of_signature_verify_with_any_of_the_keys() {
        for signature in [SIGNATURE, LEGACY, &SIGNATURE.replace('\n', "\r\n")] {
            assert!(verify(signature, &[KEY], SIGNED).is_ok());
            assert!(verify(signature, &[OTHER_KEY, KEY], SIGNED).is_ok());
            assert!(matches!(verify(signature, &[KEY], b"tesu"), Err(TrustError::Changed)));
            assert!(matches!(verify(signature, &[KEY], b""), Err(TrustError::Changed)));
        }
    }

    #[test]
    fn the_trusted_comment_is_signed_too() {
        for (signature, other) in [(SIGNATURE, "a prehashed two"), (LEGACY, "a legacy two")] {
            let changed = signature.replace("a prehashed one", other).replace("a legacy one", other);
            assert!(matches!(verify(&changed, &[KEY], SIGNED), Err(TrustError::Changed)));
        }
        let info = FileSignature::parse(SIGNATURE.into()).unwrap().info(true);
        assert_eq!(
            (info.key_id.as_str(), info.trusted_comment.as_str()),
            ("D38650D0D7F309E7", "a prehashed one")
        );
    }

    #[test]
    fn another_key_is_named() {
        let refused = verify(SIGNATURE, &[OTHER_KEY], SIGNED).unwrap_err();
        assert_eq!(
            refused.sentence("libx.so"),
            "is signed by key D38650D0D7F309E7, which [trust] does not have: sign it with the secret key of \
             E7620F1842B4E81F, or add the public key to `keys`"
        );
        // The id is not secret, and another key with the same id verifies nothing.
        let id = |text: &str| STANDARD.decode(text).unwrap()[2..10].to_vec();
        let mut forged = STANDARD.decode(OTHER_KEY).unwrap();
        forged[2..10].copy_from_slice(&id(KEY));
        let forged = STANDARD.encode(forged);
        assert!(matches!(verify(SIGNATURE, &[&forged], SIGNED), Err(TrustError::Changed)));
        assert!(verify(SIGNATURE, &[&forged, KEY], SIGNED).is_ok(), "two keys may have one id");
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let cut_at = |at: usize| SIGNATURE[..at].to_owned();
        for text in [
            String::new(),
            "garbage".to_owned(),
            KEY.to_owned(),
            cut_at(100),
            cut_at(SIGNATURE.len() - 20),
            SIGNATURE.replace("trusted comment: a", "comment: a"),
            SIGNATURE.replace("RUTn", "RVTn"),
        ] {
            assert!(matches!(verify(&text, &[KEY], SIGNED), Err(TrustError::NotASignature)), "{text:?}");
        }
        let binary = FileSignature::parse(vec![0xff; 300]).err();
        assert!(matches!(binary, Some(TrustError::NotASignature)));
        let long = SIGNATURE.replace("a prehashed one", &"x".repeat(4096));
        assert!(matches!(verify(&long, &[KEY], SIGNED), Err(TrustError::SignatureTooLarge)));
    }

    #[test]
    fn a_file_too_large_for_the_old_kind_is_not_read_into_memory() {
        let keys = [TrustedKey::from_base64(KEY).unwrap()];
        let large = || Ok(io::repeat(0).take(u64::MAX));
        let refused = FileSignature::parse(LEGACY.into()).unwrap().verify(&keys, large).unwrap();
        assert!(matches!(refused, Err(TrustError::TooLargeForLegacy)));
    }
}
