//! The reasons why a plugin file is not trusted, each with the way out.

use std::io;
use std::sync::Arc;

use super::signature_file::{ENDING, LEGACY_BYTES_MAX, SIGNATURE_BYTES_MAX};
use crate::base::Digest;
use crate::config::MinisignKeyId;

/// The reason why a plugin file is not trusted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TrustError {
    /// Every user of the machine may change it.
    Writable,
    /// It has no signature file.
    Unsigned,
    /// Its signature file is too long.
    SignatureTooLarge,
    /// Its signature file cannot be read.
    Unreadable(Arc<io::Error>),
    /// Its signature file is not a minisign signature.
    NotASignature,
    /// The signature is by a key that the config does not have.
    OtherKey {
        /// Of the signature.
        found: MinisignKeyId,
        /// Of the config.
        trusted: Vec<MinisignKeyId>,
    },
    /// The signature is not of these bytes.
    Changed,
    /// The signature is of the old kind, and the file too large for it.
    TooLargeForLegacy,
    /// The config has other digests for the plugin.
    OtherDigest {
        /// The plugin that the file claims to hold.
        plugin: String,
        /// Of the file.
        sha256: Digest,
    },
    /// The config names plugins, and not this one.
    Unlisted {
        /// The plugin that the file claims to hold.
        plugin: String,
        /// Of the file.
        sha256: Digest,
    },
}

impl TrustError {
    /// Completes the sentence "plugin file X ...", with the way out.
    pub(crate) fn sentence(&self, file: &str) -> String {
        let sign = format!("`minisign -S -m {file}`");
        match self {
            Self::Writable => format!(
                "can be changed by every user of this machine, which [trust] rules out: `chmod o-w {file}`"
            ),
            Self::Unsigned => format!(
                "has no signature: sign it with {sign} and put {file}{ENDING} beside it, or take `keys` out of [trust]"
            ),
            Self::SignatureTooLarge => format!(
                "has a signature file of more than {SIGNATURE_BYTES_MAX} bytes, which no signature has: sign it \
                 again with {sign}"
            ),
            Self::Unreadable(error) => {
                format!(
                    "has a signature file that cannot be read: {error}; let the user of this host read {file}{ENDING}"
                )
            }
            Self::NotASignature => {
                format!("has a signature file that is not a minisign signature: sign it again with {sign}")
            }
            Self::OtherKey { found, trusted } => {
                let trusted: Vec<String> = trusted.iter().map(ToString::to_string).collect();
                format!(
                    "is signed by key {found}, which [trust] does not have: sign it with the secret key of {}, or add \
                     the public key to `keys`",
                    trusted.join(" or ")
                )
            }
            Self::Changed => format!(
                "is not the file that its signature was made for: copy it and {file}{ENDING} again, or sign it \
                 again with {sign}"
            ),
            Self::TooLargeForLegacy => format!(
                "has a signature of the old kind, which is for files of at most {LEGACY_BYTES_MAX} bytes: sign it \
                 again with {sign}"
            ),
            Self::OtherDigest { plugin, sha256 } => format!(
                "has the SHA-256 {sha256}, which [trust] does not have for plugin `{plugin}`: add it to \
                 `sha256.{plugin}` if this build is meant"
            ),
            Self::Unlisted { plugin, sha256 } => format!(
                "holds plugin `{plugin}`, which [trust] does not name: add {plugin} = \"{sha256}\" to `sha256` if \
                 this build is meant"
            ),
        }
    }
}
