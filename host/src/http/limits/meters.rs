//! Counts of the public listener for `/metrics`.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::log_lines::WrongKeys;
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
    limited: [Counter; Limit::NAMES.len()],
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
    /// All of them in the order of the variants, with their names in `/metrics`.
    const NAMES: [(Self, &'static str); 14] = [
        (Self::Connections, "connections"),
        (Self::ConnectionsPerAddress, "connections_per_address"),
        (Self::HeaderTime, "header_time"),
        (Self::HeaderSize, "header_size"),
        (Self::BodyTime, "body_time"),
        (Self::BodySize, "body_size"),
        (Self::IdleTime, "idle_time"),
        (Self::WriteTime, "write_time"),
        (Self::Queue, "queue"),
        (Self::BodyMemory, "body_memory"),
        (Self::Strangers, "strangers"),
        (Self::UncompressedSize, "uncompressed_size"),
        (Self::Expansion, "expansion"),
        (Self::Nesting, "nesting"),
    ];

    /// Its name in `/metrics`.
    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

impl Meters {
    /// Counts a connection as open.
    pub(super) fn open(&self) {
        self.accepted.count();
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Stops counting a connection as open.
    pub(super) fn close(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the number of open connections.
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
    pub fn broke(&self, error: &(dyn Error + 'static)) {
        let limit = |error: &(dyn Error + 'static)| match error.downcast_ref::<hyper::Error>() {
            Some(error) if error.is_timeout() => Some(Limit::HeaderTime),
            Some(error) if error.is_parse_too_large() => Some(Limit::HeaderSize),
            _ => {
                let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
                error.downcast_ref().is_some_and(timed_out).then_some(Limit::WriteTime)
            }
        };
        let mut causes = std::iter::successors(Some(error), |error| (**error).source());
        if let Some(limit) = causes.find_map(limit) {
            self.limit(limit);
        }
    }

    /// Returns the number of errors by code.
    pub fn refused(&self) -> impl Iterator<Item = (ErrorCode, u64)> {
        ErrorCode::ALL.into_iter().zip(self.refused.iter().map(Counter::get))
    }

    /// Returns the name of each limit, and how often it acted.
    pub fn limited(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Limit::NAMES.into_iter().map(|(_, name)| name).zip(self.limited.iter().map(Counter::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_the_variants() {
        assert!(Limit::NAMES.into_iter().enumerate().all(|(index, (limit, _))| limit as usize == index));
    }
}
