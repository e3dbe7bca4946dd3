//! The stable error codes, as callers, peers and plugins see them.

use std::fmt;

/// The reason why a call has no result. The texts are part of the wire and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// No such function.
    NotFound,
    /// The arguments do not fit, or cannot be read.
    InvalidArgument,
    /// The caller did not prove who it is.
    Unauthenticated,
    /// The caller may not call this function.
    PermissionDenied,
    /// The time ran out.
    DeadlineExceeded,
    /// The caller gave up, or the host dropped the call.
    Cancelled,
    /// A limit was reached; later it may work.
    Overloaded,
    /// The plugin or the peers that would run it are not available at present.
    Unavailable,
    /// The call came back to a host that it has already been through.
    LoopDetected,
    /// The frame was seen before, or is outside the time window.
    Replayed,
    /// The frame names another process as its receiver.
    Misdirected,
    /// The other side speaks another version.
    Incompatible,
    /// The function panicked.
    Panic,
    /// The function ran and returned its own error.
    Failed,
    /// A fault of the host itself.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of `index`.
    pub const ALL: [Self; 15] = [
        Self::NotFound,
        Self::InvalidArgument,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::Overloaded,
        Self::Unavailable,
        Self::LoopDetected,
        Self::Replayed,
        Self::Misdirected,
        Self::Incompatible,
        Self::Panic,
        Self::Failed,
        Self::Internal,
    ];

    /// Its place in [`ErrorCode::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The text on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::InvalidArgument => "invalid_argument",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::LoopDetected => "loop_detected",
            Self::Replayed => "replayed",
            Self::Misdirected => "misdirected",
            Self::Incompatible => "incompatible",
            Self::Panic => "panic",
            Self::Failed => "failed",
            Self::Internal => "internal",
        }
    }

    /// Reads the text on the wire; `None` for one that this version does not know.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_round_trips() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(code.as_str()), Some(code));
            assert_eq!(ErrorCode::ALL[code.index()], code);
        }
        assert_eq!(ErrorCode::from_wire("error proxy"), None);
    }
}
