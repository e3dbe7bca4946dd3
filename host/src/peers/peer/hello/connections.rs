//! The kept connections to one peer, each of which began with a hello.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::receiver::Receiver;
use crate::base::{Mutex, MutexGuard, milliseconds};
use crate::peers::transport::Connection;

/// Idle connections that are kept at most.
pub(in super::super) const IDLE_MAX: usize = 32;
/// So many connections are made as they are needed. With more, a call waits for one to be given back before it makes its
/// own: about 16 cost least.
const OPEN_SOON_MAX: usize = 16;
/// How long it waits.
const GIVEN_BACK_WITHIN: Duration = Duration::from_millis(2);

/// The connections to one peer: those that are idle, and the number of all.
#[derive(Debug)]
pub(in super::super) struct Connections {
    /// How long an idle one is kept: less than the peer keeps it, and what is before the peer, as they may close it just
    /// when a call is being sent.
    idle_timeout: Duration,
    /// The one that was used last is the last.
    idle: Mutex<Vec<Idle>>,
    open: Arc<AtomicUsize>,
    given_back: Notify,
}

#[derive(Debug)]
struct Idle {
    greeted: GreetedConnection,
    since: Instant,
}

/// A connection whose hello was answered.
#[derive(Debug)]
pub(in super::super) struct GreetedConnection {
    pub(in super::super) connection: Connection,
    /// Who opens the frames that are sent over it.
    pub(in super::super) receiver: Receiver,
    /// The clock by which its frames are stamped.
    pub(in super::super) clock: PeerClock,
    pub(in super::super) _open: Open,
}

/// The clock of a peer, as it was in a hello, and what a clock that does not jump says since.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct PeerClock {
    pub(in super::super) now_ms: u64,
    pub(in super::super) at: Instant,
}

impl PeerClock {
    /// Unix time in milliseconds.
    pub(in super::super) fn now_ms(self) -> u64 {
        self.now_ms.saturating_add(milliseconds(self.at.elapsed()))
    }
}

/// One open connection, as long as it lives.
#[derive(Debug)]
pub(in super::super) struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    pub(in super::super) fn new(idle_timeout: Duration) -> Self {
        Self { idle_timeout, idle: Mutex::default(), open: Arc::default(), given_back: Notify::new() }
    }

    /// Takes an idle connection that may carry a request, the one that was used last; `None` if one is to be made.
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
            // The lock is not held while one is waited for.
            let Idle { mut greeted, since } = self.idle().pop()?;
            if since.elapsed() < self.idle_timeout && greeted.connection.is_ready().await {
                return Some(greeted);
            }
        }
    }

    /// Counts a connection that is about to be made.
    pub(in super::super) fn open(&self) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.open))
    }

    /// Keeps a connection for the next call, if there is room.
    pub(in super::super) fn give_back(&self, greeted: GreetedConnection) {
        if greeted.connection.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { greeted, since: now });
        }
        drop(idle);
        self.given_back.notify_one();
    }

    /// Closes those that have been idle for too long.
    pub(in super::super) fn close_idle(&self) {
        self.idle().retain(|idle| idle.since.elapsed() < self.idle_timeout);
    }

    /// Closes all that are idle.
    pub(in super::super) fn close_all(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock()
    }
}
