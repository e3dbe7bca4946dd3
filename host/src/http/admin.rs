//! The admin API: on a unix socket that only the user of the host may open, and over TCP for whoever has the token.
//!
//! Every change is one line of the audit log: what, by whom, and what came of it.

mod connections;
mod gate;
mod refusals;
mod routes;
mod socket;
mod tcp;
mod who;

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::UnixListener;

use crate::base::Tasks;
use crate::plugins::Plugins;
use crate::router::Router;

pub use socket::serve;
pub use tcp::Tcp;

/// What the admin API shows and changes.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The plugins.
    pub plugins: Arc<Plugins>,
    /// Where calls go.
    pub router: Arc<Router>,
    /// Changes run as tasks of these: one that has begun ends, also if nobody waits for the answer any more.
    pub changes: Tasks,
}

/// Listens on a unix socket that only this user may open (mode 0600). A socket that a dead host left is replaced.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AddrInUse`] if a host is alive behind it.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    socket::bind(path)
}
