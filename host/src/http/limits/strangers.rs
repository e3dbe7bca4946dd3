//! The cost of strangers: requests on connections that have shown neither a key nor a certificate that names a caller.
//!
//! Each of them takes some memory that is not its body: its stream, its task, what is kept of its head. All of them
//! together have a bound, for any number of connections and streams. A request that holds a place of a call is
//! not counted meanwhile: those have a bound of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Maximum memory of one request beside its body, in bytes: measured over HTTP/2, with its response held back.
pub(crate) const REQUEST_BYTES: usize = 16 << 10;
/// The least that all of them may take together, in requests.
const REQUESTS_MIN: usize = 1024;
/// The part of the memory of bodies that they may take as well: a quarter.
const PART: usize = 4;
/// Set in the count of a connection that is about to end: its requests are not counted any more.
const LEFT: usize = 1 << (usize::BITS - 1);

/// The requests of all strangers of one listener.
#[derive(Debug)]
pub(crate) struct Strangers {
    requests: AtomicUsize,
    /// Requests whose connections are about to end.
    leaving: AtomicUsize,
    requests_max: usize,
}

impl Strangers {
    /// The bound that goes with `body_memory_max`, in bytes.
    pub(crate) fn new(body_memory_max: usize) -> Arc<Self> {
        let requests_max = (body_memory_max / PART / REQUEST_BYTES).max(REQUESTS_MIN);
        Arc::new(Self { requests_max, ..Self::default() })
    }

    /// More requests are open than all strangers together may have, those on their way out included: until they are
    /// gone, no more are read.
    pub(crate) fn are_crowded(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > self.requests_max
    }

    /// Returns true if there are too many requests even without the requests of connections that are about to end.
    pub(crate) fn are_too_many(&self) -> bool {
        let leaving = self.leaving.load(Ordering::Relaxed);
        self.requests.load(Ordering::Relaxed).saturating_sub(leaving) > self.requests_max
    }
}

impl Default for Strangers {
    fn default() -> Self {
        let (requests, leaving) = Default::default();
        Self { requests, leaving, requests_max: REQUESTS_MIN }
    }
}

/// The cost of one connection as long as it is a stranger's.
#[derive(Debug, Default)]
pub(crate) struct OfConnection {
    /// The requests of all strangers.
    pub(crate) all: Arc<Strangers>,
    is_known: AtomicBool,
    requests: AtomicUsize,
    /// Bodies that have begun to arrive and are not complete.
    awaited: AtomicUsize,
    /// Since when there is one at any time, in milliseconds since the listener began.
    awaited_since_ms: AtomicU64,
    /// Their bytes that have arrived.
    bytes: AtomicUsize,
}

impl OfConnection {
    pub(crate) fn new(all: Arc<Strangers>) -> Self {
        Self { all, ..Self::default() }
    }

    /// The connection has shown a key or a certificate.
    pub(crate) fn are_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    pub(crate) fn know(&self) {
        // Not written again and again by all requests of a busy connection.
        if !self.are_known() {
            self.is_known.store(true, Ordering::Relaxed);
        }
    }

    /// One request more.
    pub(crate) fn enter(&self) {
        self.all.requests.fetch_add(1, Ordering::Relaxed);
        if self.requests.fetch_add(1, Ordering::Relaxed) & LEFT != 0 {
            self.all.leaving.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One request less.
    pub(crate) fn exit(&self) {
        self.all.requests.fetch_sub(1, Ordering::Relaxed);
        if self.requests.fetch_sub(1, Ordering::Relaxed) & LEFT != 0 {
            self.all.leaving.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The connection ends, and its requests with it: their tasks do a little later.
    pub(crate) fn leave(&self) {
        let before = self.requests.fetch_or(LEFT, Ordering::Relaxed);
        if before & LEFT == 0 {
            self.all.leaving.fetch_add(before, Ordering::Relaxed);
        }
    }

    /// Its requests, unless it is about to end.
    pub(crate) fn requests(&self) -> Option<usize> {
        Some(self.requests.load(Ordering::Relaxed)).filter(|requests| requests & LEFT == 0)
    }

    /// One body more is awaited, from `now_ms` on.
    pub(crate) fn begin_to_await(&self, now_ms: u64) {
        if self.awaited.fetch_add(1, Ordering::Relaxed) == 0 {
            self.awaited_since_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Ends the wait for a body, of which `bytes` had arrived.
    pub(crate) fn cease_to_await(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.awaited.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes bytes of an awaited body that have arrived.
    pub(crate) fn arrived(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The number of bodies that are awaited, and since when there is one.
    pub(crate) fn awaited(&self) -> (usize, u64) {
        (self.awaited.load(Ordering::Relaxed), self.awaited_since_ms.load(Ordering::Relaxed))
    }

    /// Returns the bytes of awaited bodies that have arrived, and true if the connection is about to end.
    pub(crate) fn bytes(&self) -> (usize, bool) {
        (self.bytes.load(Ordering::Relaxed), self.requests().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_once_however_their_connection_ends() {
        let all = Strangers::new(0);
        let [one, other] = [(); 2].map(|()| OfConnection::new(Arc::clone(&all)));
        for _ in 0..REQUESTS_MIN {
            one.enter();
        }
        assert!(!all.are_too_many());
        other.enter();
        assert!(all.are_too_many());
        one.exit();
        assert!(!all.are_too_many());
        other.enter();
        one.leave();
        one.leave();
        assert_eq!((all.are_too_many(), one.requests(), other.requests()), (false, None, Some(2)));
        assert!(all.are_crowded(), "they have not left yet");
        // Their tasks end later, and one had just begun.
        one.enter();
        for _ in 0..REQUESTS_MIN {
            one.exit();
        }
        assert!(!all.are_crowded());
        let [requests, leaving] = [&all.requests, &all.leaving].map(|count| count.load(Ordering::Relaxed));
        assert_eq!((requests, leaving), (2, 0));
    }
}
