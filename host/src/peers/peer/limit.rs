//! The limits on what a peer answers.

use crate::wire::LimitReached;

/// A limit on what a peer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerLimit {
    /// `plugins.proxy.answer_bytes_max`, of what comes.
    AnswerSize,
    /// `plugins.proxy.answer_bytes_max`, of what a frame claims to be uncompressed.
    UncompressedSize,
    /// `server.expansion_max`.
    Expansion,
    /// The nesting of what comes with a failure, at most that of the wire.
    Nesting,
}

impl PeerLimit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AnswerSize, Self::UncompressedSize, Self::Expansion, Self::Nesting];

    /// Its name in `/metrics`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnswerSize => "answer_size",
            Self::UncompressedSize => "uncompressed_size",
            Self::Expansion => "expansion",
            Self::Nesting => "nesting",
        }
    }
}

impl From<LimitReached> for PeerLimit {
    fn from(limit: LimitReached) -> Self {
        match limit {
            LimitReached::Size => Self::UncompressedSize,
            LimitReached::Expansion => Self::Expansion,
            LimitReached::Nesting => Self::Nesting,
        }
    }
}
