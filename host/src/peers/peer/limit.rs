//! The limits on calls at a peer, and on what it answers.

use crate::wire::LimitReached;

/// A limit on calls at a peer, or on what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerLimit {
    /// `plugins.proxy.in_flight_max`.
    InFlight,
    /// The same for calls that wait for it to come back.
    Waiting,
    /// `plugins.proxy.wait_ms`: a call waited for the longest time.
    WaitTime,
    /// `plugins.proxy.answer_bytes_max`, of an answer as it arrives.
    AnswerSize,
    /// `plugins.proxy.answer_bytes_max`, of a frame's uncompressed content.
    UncompressedSize,
    /// `server.expansion_max`.
    Expansion,
    /// The nesting of a failure's details, at most that of the wire.
    Nesting,
}

impl PeerLimit {
    /// All limits.
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
