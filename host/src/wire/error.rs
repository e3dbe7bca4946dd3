//! The errors of the wire, by the side that has to deal with them.
//!
//! Responsibility and retries:
//! [`KeyError`] is the operator's, found at start. [`OpenError`] is the sender's or an attacker's, and the
//! answer does not tell them apart. [`Refusal`] is a replay or a clock; only a stale frame may be sealed
//! again. [`DecodeError`] is an authentic sender's mistake, and the same bytes never become right.

use crate::base::{ErrorCode, Failure};

/// A secret, or a list of them, from which no keys can be made. No text contains the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The secret is the empty string.
    #[error("the secret is empty")]
    Empty,
    /// It begins like a generated secret but is not one; taken as a passphrase it would only seem to work.
    #[error("a secret that begins with `fxk1_` needs exactly 43 base64url characters after it")]
    Malformed,
    /// A key ring without any key set.
    #[error("there is no secret to seal with")]
    NoKeys,
    /// Argon2id gave up; in practice its 19 MiB were not to be had.
    #[error("the passphrase could not be turned into a key")]
    Passphrase(#[source] argon2::Error),
}

/// A frame that does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The frame says that it is of another version; nothing else of it was looked at.
    #[error("the frame is of wire version {version}, this host speaks version 1")]
    Incompatible {
        /// The digit in the magic.
        version: u8,
    },
    /// Everything else: too short, magic, kind, flags, key id, request id of a response, or tag.
    /// There is one variant for all, so that no answer can tell them apart.
    #[error("the frame is not authentic")]
    NotAuthentic,
}

/// A response that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// It does not open, or answers another request.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is authentic, and not a response.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// An authentic frame that is not to be acted on; its code is [`ErrorCode::Replayed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Stamped outside the window, or before this process started: an honest sender seals it again,
    /// stamped by the receiver's clock.
    #[error("the frame was sealed too long ago, or by a clock that is off")]
    Stale {
        /// The receiver's clock, Unix time in milliseconds.
        now_ms: u64,
    },
    /// The same frame was here before.
    #[error("the frame was received before")]
    Seen,
}

impl Refusal {
    /// The receiver's clock, Unix time in milliseconds, where the sender is to stamp its frames by it.
    pub const fn now_ms(self) -> Option<u64> {
        match self {
            Self::Stale { now_ms } => Some(now_ms),
            Self::Seen => None,
        }
    }

    /// The failure that the sender is told. A stale frame was certainly not executed;
    /// of one that was here before, this host does not know what came of it.
    pub fn to_failure(self) -> Failure {
        match self {
            Self::Stale { .. } => Failure::not_executed(ErrorCode::Replayed, self.to_string()),
            Self::Seen => Failure::new(ErrorCode::Replayed, self.to_string()),
        }
    }
}

/// Authentic bytes that are not what WIRE.md describes. Each text is one sentence that names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A value, or a length that it claims, goes on after the last byte.
    #[error("{field} reaches beyond the end of the message")]
    Truncated {
        /// The part of the message.
        field: &'static str,
    },
    /// Bytes are left over after the last value.
    #[error("{field} is followed by bytes that belong to nothing")]
    Trailing {
        /// The part of the message.
        field: &'static str,
    },
    /// Another type, or a text of another form.
    #[error("{field} is not {expected}")]
    Invalid {
        /// The part of the message.
        field: &'static str,
        /// The expected kind of value, with its article.
        expected: &'static str,
    },
    /// A string whose bytes are not UTF-8.
    #[error("{field} is not valid UTF-8")]
    NotUtf8 {
        /// The part of the message.
        field: &'static str,
    },
    /// A string or byte string over its limit.
    #[error("{field} has more than {bytes_max} bytes")]
    TooLong {
        /// The part of the message.
        field: &'static str,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// An array or map over its limit.
    #[error("{field} has more than {entries_max} entries")]
    TooMany {
        /// The part of the message.
        field: &'static str,
        /// The limit.
        entries_max: usize,
    },
    /// An envelope with another number of fields.
    #[error("{field} has {found} fields instead of {expected}")]
    FieldCount {
        /// The envelope.
        field: &'static str,
        /// The number of entries that it has.
        found: usize,
        /// The number of entries that it needs.
        expected: usize,
    },
    /// Arrays and maps inside each other, more of them than are allowed: [`super::Limits::nesting_max`] in arguments.
    #[error("{field} is nested deeper than {nesting_max} levels")]
    TooDeep {
        /// The part of the message.
        field: &'static str,
        /// The limit.
        nesting_max: usize,
    },
    /// A map key that must not be there twice.
    #[error("{field} has the key {key:?} more than once")]
    Repeated {
        /// The map.
        field: &'static str,
        /// The key.
        key: String,
    },
    /// A map key that has to be there.
    #[error("{field} is missing")]
    Missing {
        /// The part of the message.
        field: &'static str,
    },
    /// A compressed plaintext that claims to stand for more than its block may.
    #[error("the compressed message claims more than {expansion_max} bytes for each of its own")]
    TooDense {
        /// [`super::Limits::expansion_max`].
        expansion_max: usize,
    },
    /// A plaintext over the limit; a compressed one is judged by its claim, before anything is allocated.
    #[error("the message has {bytes} bytes uncompressed, the limit is {bytes_max}")]
    TooLarge {
        /// The length that it has, or claims.
        bytes: usize,
        /// [`super::Limits::plaintext_bytes_max`].
        bytes_max: usize,
    },
}

/// The limit of [`super::Limits`] that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// Of the uncompressed size.
    Size,
    /// Of the ratio of compression.
    Expansion,
    /// Of the nesting.
    Nesting,
}

impl DecodeError {
    /// The limit that it is about, if it is.
    pub fn limit(&self) -> Option<LimitReached> {
        match self {
            Self::TooLarge { .. } => Some(LimitReached::Size),
            Self::TooDense { .. } => Some(LimitReached::Expansion),
            Self::TooDeep { .. } => Some(LimitReached::Nesting),
            _ => None,
        }
    }

    /// The failure that the sender of a request is told, inside a sealed response.
    pub fn to_failure(&self) -> Failure {
        Failure::not_executed(ErrorCode::InvalidArgument, self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Executed;

    #[test]
    fn a_stale_frame_may_be_sealed_again_and_a_seen_one_may_not() {
        let stale = Refusal::Stale { now_ms: 7 };
        assert_eq!(stale.now_ms(), Some(7));
        assert_eq!(stale.to_failure().executed, Executed::No);
        assert_eq!(Refusal::Seen.now_ms(), None);
        assert_eq!(Refusal::Seen.to_failure().executed, Executed::Unknown);
        assert_eq!(Refusal::Seen.to_failure().code, ErrorCode::Replayed);
    }

    #[test]
    fn keys_of_callers_are_escaped_in_messages() {
        let error = DecodeError::Repeated { field: "arguments", key: "a\n\u{1b}[31m".to_owned() };
        assert_eq!(error.to_string(), r#"arguments has the key "a\n\u{1b}[31m" more than once"#);
        assert_eq!(error.to_failure().code, ErrorCode::InvalidArgument);
    }
}
