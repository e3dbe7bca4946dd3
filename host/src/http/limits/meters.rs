//! Counts of the public listener for `/metrics`.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::wrong_keys::WrongKeys;
use crate::base::{Counter, ErrorCode};
use crate::wire::LimitReached;

/// Counts of one listener, since the process started.
#[derive(Debug, Default)]
pub struct Meters {
    /// Connections that were accepted.
    pub accepted: Counter,
    pub(crate) wrong_keys: WrongKeys,
    open: AtomicUsize,
    refused: [Counter; ErrorCode::ALL.len()],
    limited: [Counter; Limit::ALL.len()],
}

/// A limit that acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `server.connections_max`.
    Connections,
    /// `server.connections_per_address_max`.
    ConnectionsPerAddress,
    /// `server.header_timeout_ms`: the head of a request did not come in time.
    HeaderTime,
    /// `server.header_bytes_max`.
    HeaderSize,
    /// `server.body_timeout_ms`: the body of a request did not come in time.
    BodyTime,
    /// `server.body_bytes_max`.
    BodySize,
    /// `server.idle_timeout_ms`: a connection on which nothing happened.
    IdleTime,
    /// `server.write_timeout_ms`: a client that did not take its answer.
    WriteTime,
    /// `server.in_flight_max` and `server.queue_max`.
    Queue,
    /// `server.body_memory_max`.
    BodyMemory,
    /// Requests and bodies of connections that have shown no key; the largest are evicted.
    Strangers,
    /// `server.body_bytes_max`, of what a frame claims to be uncompressed.
    UncompressedSize,
    /// `server.expansion_max`.
    Expansion,
    /// `server.nesting_max`.
    Nesting,
}

impl From<LimitReached> for Limit {
    fn from(limit: LimitReached) -> Self {
        match limit {
            LimitReached::Size => Self::UncompressedSize,
            LimitReached::Expansion => Self::Expansion,
            LimitReached::Nesting => Self::Nesting,
        }
    }
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::HeaderTime,
        Self::HeaderSize,
        Self::BodyTime,
        Self::BodySize,
        Self::IdleTime,
        Self::WriteTime,
        Self::Queue,
        Self::BodyMemory,
        Self::Strangers,
        Self::UncompressedSize,
        Self::Expansion,
        Self::Nesting,
    ];

    /// Its name in `/metrics`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::HeaderTime => "header_time",
            Self::HeaderSize => "header_size",
            Self::BodyTime => "body_time",
            Self::BodySize => "body_size",
            Self::IdleTime => "idle_time",
            Self::WriteTime => "write_time",
            Self::Queue => "queue",
            Self::BodyMemory => "body_memory",
            Self::Strangers => "strangers",
            Self::UncompressedSize => "uncompressed_size",
            Self::Expansion => "expansion",
            Self::Nesting => "nesting",
        }
    }
}

impl Meters {
    /// Counts a connection as open for as long as the returned guard lives.
    #[must_use]
    pub fn connection(self: &std::sync::Arc<Self>) -> CountedConnection {
        self.accepted.count();
        self.open.fetch_add(1, Ordering::Relaxed);
        CountedConnection(std::sync::Arc::clone(self))
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts an error of this code, and the limit that caused it.
    pub fn refuse(&self, code: ErrorCode, limit: Option<Limit>) {
        self.refused[code.index()].count();
        limit.into_iter().for_each(|limit| self.limit(limit));
    }

    /// Counts a limit that acted.
    pub fn limit(&self, limit: Limit) {
        self.limited[limit as usize].count();
    }

    /// Counts the limit that broke a connection, if it was one.
    pub fn broke(&self, error: &(dyn std::error::Error + 'static)) {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let timed_out = |error: &std::io::Error| error.kind() == std::io::ErrorKind::TimedOut;
            if error.downcast_ref().is_some_and(timed_out) {
                return self.limit(Limit::WriteTime);
            }
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                if error.is_timeout() {
                    return self.limit(Limit::HeaderTime);
                }
                if error.is_parse_too_large() {
                    return self.limit(Limit::HeaderSize);
                }
            }
            cause = error.source();
        }
    }

    /// Returns the number of errors by code.
    pub fn refused(&self) -> impl Iterator<Item = (ErrorCode, u64)> {
        ErrorCode::ALL.into_iter().zip(self.refused.iter().map(Counter::get))
    }

    /// Returns how often each limit acted.
    pub fn limited(&self) -> impl Iterator<Item = (Limit, u64)> {
        Limit::ALL.into_iter().zip(self.limited.iter().map(Counter::get))
    }
}

/// An open connection, for as long as it lives.
#[derive(Debug)]
pub struct CountedConnection(std::sync::Arc<Meters>);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
