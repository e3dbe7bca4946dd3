//! The reasons why a peer gave no result, and what may cure each of them. Pure.
//!
//! A call is repeated only if another attempt may end differently: a refused key, or a function that a peer lacks,
//! stays so a second later.

use std::borrow::Cow;

use http::StatusCode;

use super::transport::{HttpAnswer, SendError};
use crate::base::ErrorCode;

/// The reason why a peer gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The peer itself gives the reason, in a sealed answer.
    Told(ErrorCode),
    /// This host has no key that seals calls to the peer.
    NoKey,
    /// The deadline of the call passed.
    OutOfTime,
    /// There was no connection.
    NotConnected,
    /// This host refuses to connect: it does not accept the peer's certificate or address.
    Refused,
    /// The peer wants a certificate that this host does not have.
    CertificateRefused,
    /// The connection broke before the answer arrived.
    Broken,
    /// The peer accepted a connection and did not answer a hello.
    NoHello,
    /// The host that answered the hello must not be called: because of its id or its clock, or because it does not say
    /// who it is.
    WrongHost,
    /// A process answered that the call was not sealed for.
    OtherProcess,
    /// The answer exceeds a limit.
    TooLarge,
    /// The answer does not open with the key of the call.
    Unreadable,
    /// The answer is not a sealed frame, and its status says that the host speaks another version of the wire.
    OtherVersion,
    /// The answer is not a sealed frame, and has this HTTP status.
    Unsealed(u16),
}

/// The cure of a cause: the more a later variant, the more attempts may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cure {
    /// Nothing: every attempt at any peer ends the same.
    Nothing,
    /// Another peer, which may have what this one lacks.
    AnotherPeer,
    /// Time, or another peer.
    Time,
}

impl Cause {
    /// Returns what may cure it.
    pub const fn cure(self) -> Cure {
        match self {
            Self::Told(code) => match code {
                ErrorCode::Unavailable | ErrorCode::Overloaded => Cure::Time,
                ErrorCode::NotFound
                | ErrorCode::LoopDetected
                | ErrorCode::Misdirected
                | ErrorCode::Unauthenticated
                | ErrorCode::Incompatible => Cure::AnotherPeer,
                _ => Cure::Nothing,
            },
            Self::NotConnected | Self::Broken | Self::NoHello | Self::OtherProcess => Cure::Time,
            Self::NoKey
            | Self::Refused
            | Self::WrongHost
            | Self::CertificateRefused
            | Self::Unreadable
            | Self::OtherVersion => Cure::AnotherPeer,
            Self::OutOfTime | Self::TooLarge => Cure::Nothing,
            Self::Unsealed(status) => match status {
                // The body is too large for other peers as well.
                413 => Cure::Nothing,
                // A gateway between the hosts is overloaded, or does not reach the peer.
                408 | 425 | 429 | 500..=599 => Cure::Time,
                _ => Cure::AnotherPeer,
            },
        }
    }

    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Told(code) => code.as_str(),
            Self::NoKey => "no_key",
            Self::OutOfTime => "out_of_time",
            Self::NotConnected => "not_connected",
            Self::Refused => "not_trusted",
            Self::CertificateRefused => "certificate_refused",
            Self::Broken => "broken",
            Self::NoHello => "no_hello",
            Self::WrongHost => "other_host",
            Self::OtherProcess => "other_process",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
            Self::OtherVersion => "other_version",
            Self::Unsealed(401) => "key_refused",
            Self::Unsealed(_) => "http_status",
        }
    }

    /// Returns what the peer did, in words that follow "the peer" or "it". Callers read it, so it has no addresses and
    /// no keys.
    pub fn predicate(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Told(code) => return format!("answered `{code}`").into(),
            Self::NoKey => "cannot be called, as this host has no key for it",
            Self::OutOfTime => "did not answer in time",
            Self::NotConnected => "cannot be reached",
            Self::Refused => "is not one that this host connects to",
            Self::CertificateRefused => "wants a certificate that this host does not have",
            Self::Broken => "broke the connection before it answered",
            Self::NoHello => "did not answer a hello",
            Self::WrongHost => "is another host than the one that is to be called",
            Self::OtherProcess => "answered by another process than the one that was called",
            Self::TooLarge => "answered more than is taken",
            Self::Unreadable => "gave an answer that cannot be read",
            Self::OtherVersion => "speaks another version of the wire",
            Self::Unsealed(401) => "does not accept this host's key",
            Self::Unsealed(status) => {
                return format!("gave no sealed answer, but HTTP status {status}").into();
            }
        })
    }

    pub(super) fn of_send(error: &SendError) -> Self {
        match error {
            SendError::NotConnected(_) => Self::NotConnected,
            SendError::Refused(_) => Self::Refused,
            SendError::CertificateRefused(_) => Self::CertificateRefused,
            SendError::NotSent | SendError::NoAnswer(_) | SendError::Broken(_) => Self::Broken,
            SendError::TooLarge(_) => Self::TooLarge,
        }
    }

    /// Returns the cause of an answer that is not a sealed frame.
    pub(super) fn of_answer(answer: &HttpAnswer) -> Self {
        match answer.status {
            StatusCode::BAD_REQUEST if answer.names_version => Self::OtherVersion,
            status => Self::Unsealed(status.as_u16()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_cure() {
        let time = [
            Cause::Told(ErrorCode::Unavailable),
            Cause::Told(ErrorCode::Overloaded),
            Cause::NotConnected,
            Cause::Broken,
            Cause::NoHello,
            Cause::OtherProcess,
            Cause::Unsealed(408),
            Cause::Unsealed(429),
            Cause::Unsealed(500),
            Cause::Unsealed(502),
            Cause::Unsealed(503),
            Cause::Unsealed(504),
        ];
        let another_peer = [
            Cause::Told(ErrorCode::NotFound),
            Cause::Told(ErrorCode::LoopDetected),
            Cause::Told(ErrorCode::Misdirected),
            Cause::Told(ErrorCode::Unauthenticated),
            Cause::Told(ErrorCode::Incompatible),
            Cause::NoKey,
            Cause::Refused,
            Cause::WrongHost,
            Cause::CertificateRefused,
            Cause::Unreadable,
            Cause::OtherVersion,
            Cause::Unsealed(200),
            Cause::Unsealed(301),
            Cause::Unsealed(401),
            Cause::Unsealed(403),
            Cause::Unsealed(404),
            Cause::Unsealed(405),
        ];
        let nothing = [
            Cause::Told(ErrorCode::InvalidArgument),
            Cause::Told(ErrorCode::PermissionDenied),
            Cause::Told(ErrorCode::DeadlineExceeded),
            Cause::Told(ErrorCode::Cancelled),
            Cause::Told(ErrorCode::Replayed),
            Cause::Told(ErrorCode::Panic),
            Cause::Told(ErrorCode::Failed),
            Cause::Told(ErrorCode::Internal),
            Cause::OutOfTime,
            Cause::TooLarge,
            Cause::Unsealed(413),
        ];
        for (causes, cure) in
            [(&time[..], Cure::Time), (&another_peer[..], Cure::AnotherPeer), (&nothing[..], Cure::Nothing)]
        {
            for cause in causes {
                assert_eq!(cause.cure(), cure, "{cause:?}");
            }
        }
        let told = time.iter().chain(&another_peer).chain(&nothing);
        let told = told.filter(|cause| matches!(cause, Cause::Told(_))).count();
        assert_eq!(told, ErrorCode::ALL.len(), "each code is in the table once");
    }
}
