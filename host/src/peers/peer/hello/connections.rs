//! The kept connections to one peer, each of which began with a hello.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::receiver::Receiver;
use crate::base::{Mutex, MutexGuard, milliseconds};
use crate::peers::transport::PeerConnection;

/// The maximum number of idle connections that are kept.
pub(in super::super) const IDLE_MAX: usize = 32;
/// The number of connections that are made without waiting. Beyond it, a call waits for one to be given back before it
/// makes another: about 16 cost least.
const OPEN_SOON_MAX: usize = 16;
/// The longest time that such a call waits.
const GIVEN_BACK_WITHIN: Duration = Duration::from_millis(2);

/// The connections to one peer: the idle ones, and the number of all.
#[derive(Debug)]
pub(in super::super) struct ConnectionPool {
    /// The time for which an idle connection is kept: less than the peer and proxies before it keep it, as they may
    /// close it just when a call is sent.
    idle_timeout: Duration,
    /// The most recently used connection is the last.
    idle: Mutex<Vec<IdleConnection>>,
    open: Arc<AtomicUsize>,
    given_back: Notify,
}

#[derive(Debug)]
struct IdleConnection {
    greeted: GreetedConnection,
    since: Instant,
}

/// A connection whose hello was answered.
#[derive(Debug)]
pub(in super::super) struct GreetedConnection {
    pub(in super::super) connection: PeerConnection,
    /// The process that opens the frames that are sent over it.
    pub(in super::super) receiver: Receiver,
    /// The clock by which its frames are stamped.
    pub(in super::super) clock: PeerClock,
    pub(in super::super) _open: OpenConnection,
}

/// The clock of a peer: its time in a hello, and the steady time since then.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct PeerClock {
    pub(in super::super) now_ms: u64,
    pub(in super::super) at: Instant,
}

impl PeerClock {
    /// Returns the Unix time in milliseconds.
    pub(in super::super) fn now_ms(self) -> u64 {
        self.now_ms.saturating_add(milliseconds(self.at.elapsed()))
    }
}

/// One open connection, counted until it is dropped.
#[derive(Debug)]
pub(in super::super) struct OpenConnection(Arc<AtomicUsize>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConnectionPool {
    pub(in super::super) fn new(idle_timeout: Duration) -> Self {
        Self { idle_timeout, idle: Mutex::default(), open: Arc::default(), given_back: Notify::new() }
    }

    /// Takes the most recently used idle connection that may carry a request; `None` if a new one is needed.
    pub(in super::super) async fn take(&self) -> Option<GreetedConnection> {
        if let Some(greeted) = self.take_idle().await {
            return Some(greeted);
        }
        if self.open.load(Ordering::Relaxed) < OPEN_SOON_MAX {
            return None;
        }
        tokio::time::timeout(GIVEN_BACK_WITHIN, self.given_back.notified()).await.ok()?;
        self.take_idle().await
    }

    async fn take_idle(&self) -> Option<GreetedConnection> {
        loop {
            // The lock is not held while a connection is awaited.
            let IdleConnection { mut greeted, since } = self.idle().pop()?;
            if since.elapsed() < self.idle_timeout && greeted.connection.is_ready().await {
                return Some(greeted);
            }
        }
    }

    /// Counts a connection before it is made.
    pub(in super::super) fn open(&self) -> OpenConnection {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(&self.open))
    }

    /// Keeps a connection for the next call if there is room.
    pub(in super::super) fn give_back(&self, greeted: GreetedConnection) {
        if greeted.connection.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(IdleConnection { greeted, since: now });
        }
        drop(idle);
        self.given_back.notify_one();
    }

    /// Closes connections that have been idle for too long.
    pub(in super::super) fn close_idle(&self) {
        self.idle().retain(|idle| idle.since.elapsed() < self.idle_timeout);
    }

    /// Closes all idle connections.
    pub(in super::super) fn close_all(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<IdleConnection>> {
        self.idle.lock()
    }
}
