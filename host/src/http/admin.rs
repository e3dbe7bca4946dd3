//! The admin API: on a unix socket that only the user of the host may open, and over TCP with a token.
//!
//! Every change is one line of the audit log: what, by whom, and what came of it.

mod connections;
mod gate;
mod metrics;
mod routes;
mod seats;
mod socket;
mod state;
mod tcp;
mod views;
mod who;

pub use gate::AdminToken;
pub use socket::{bind, serve};
pub use state::{Admin, HostRefusal, ReloadHost};
pub use tcp::Tcp;

/// Serves one connection as the unix socket does; for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub async fn serve_stream<S>(admin: Admin, stream: S, tasks: crate::base::Tasks)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let answer = |request| routes::answer(&admin, request, who::Requester::Process { uid: 0, pid: None });
    connections::serve(stream, answer, tasks, std::sync::Arc::default()).await;
}

/// Returns true if a request is let in over TCP; for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn comes_in<B>(port: u16, token: AdminToken, request: &http::Request<B>) -> bool {
    gate::Gate { port, token }.check(request).is_ok()
}
