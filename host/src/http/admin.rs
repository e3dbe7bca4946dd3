//! The admin API: on a unix socket that only the user of the host may open, and over TCP for whoever has the token.
//!
//! Every change is one line of the audit log: what, by whom, and what came of it.

mod connections;
mod gate;
mod metrics;
mod routes;
mod seats;
mod socket;
mod tcp;
mod views;
mod who;

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::runtime::Handle;

use super::service::Service;
use crate::base::Tasks;
use crate::files::SocketPlace;
use crate::plugins::{Change, Plugins};
use crate::router::Router;

pub use socket::serve;
pub use tcp::{Tcp, Token};

/// What the admin API shows and changes.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The plugins.
    pub plugins: Arc<Plugins>,
    /// The public listener, for what it counts.
    pub service: Arc<Service>,
    /// Where calls go.
    pub router: Arc<Router>,
    /// What `POST /admin/v1/reload` does.
    pub host: Arc<dyn ReloadHost>,
    /// Where plugins run: the runtime of the workers, which is not the one that the admin API runs in.
    pub workers: Handle,
    /// The config file of this host, absolute and without links.
    pub config_file: Arc<Path>,
    /// Changes run as tasks of these: one that has begun ends, also if nobody waits for the answer any more.
    pub changes: Tasks,
}

/// Reads the config and the plugin directory again: the whole host, as the layers below it see it.
pub trait ReloadHost: Send + Sync {
    /// Brings everything that has changed into force, or nothing.
    fn reload<'a>(
        &'a self,
        allow_breaking: bool,
    ) -> Pin<Box<dyn Future<Output = Result<HostChange, HostRefusal>> + Send + 'a>>;
}

impl fmt::Debug for dyn ReloadHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReloadHost")
    }
}

/// What a reload of the whole host did.
#[derive(Debug)]
pub struct HostChange {
    /// The plugins that were loaded, replaced or withdrawn.
    pub plugins: Vec<Change>,
    /// The plugins that are as they were.
    pub unchanged: Vec<String>,
    /// Keys of the config that say something else now, and that only a restart brings into force.
    pub restart_required: Vec<&'static str>,
    /// What is odd about the config, or about the directory.
    pub warnings: Vec<String>,
}

/// Why the whole host was not reloaded; nothing has changed.
#[derive(Debug)]
pub struct HostRefusal {
    /// `config`, or the step of the first plugin that failed.
    pub step: &'static str,
    /// All reasons, a sentence each.
    pub detail: String,
    /// Each plugin or file that failed, with its step and reason.
    pub plugins: Vec<(String, &'static str, String)>,
}

/// Listens on a unix socket that only this user may open (mode 0600). A socket that a dead host left is replaced. Also
/// returns the place of the socket, to be left in the end.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AddrInUse`] if a host is alive behind it.
pub fn bind(path: &Path) -> io::Result<(UnixListener, SocketPlace)> {
    socket::bind(path)
}

/// Answers the requests of one connection as the unix socket does; for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub async fn serve_stream<S>(admin: Admin, stream: S, tasks: Tasks)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let answer = |request| routes::answer(&admin, request, who::Requester::Process { uid: 0, pid: None });
    connections::serve(stream, answer, tasks, Arc::default()).await;
}

/// Whether a request comes in over TCP; for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
#[must_use]
pub fn comes_in<B>(port: u16, token: Token, request: &http::Request<B>) -> bool {
    gate::Gate::new(port, token).check(request).is_ok()
}
