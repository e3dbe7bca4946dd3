//! The limits on calls at a peer, and on what it answers.

use crate::wire::LimitReached;

/// A limit on calls at a peer, or on what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerLimit {
    /// `plugins.proxy.in_flight_max`.
    InFlight,
    /// The same, of calls that wait for it to come back.
    Waiting,
    /// `plugins.proxy.wait_ms`: a call waited for as long as it may.
    WaitTime,
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
    pub const ALL: [Self; 7] = [
        Self::InFlight,
        Self::Waiting,
        Self::WaitTime,
        Self::AnswerSize,
        Self::UncompressedSize,
        Self::Expansion,
        Self::Nesting,
    ];

    /// Its name in `/metrics`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Waiting => "waiting",
            Self::WaitTime => "wait_time",
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
