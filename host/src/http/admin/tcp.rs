//! The listener over TCP: every request passes the gate before anything of it is looked at.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use http::Request;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};

use super::connections;
use super::gate::{AdminToken, Gate, GateError};
use super::routes;
use super::state::Admin;
use super::who::Requester;
use crate::base::Tasks;
use crate::config::AdminTcp;
use crate::http::limits::Throttle;
use crate::http::response::Response;
use crate::http::routes::health::Detail;

/// Longest method and path that the audit log repeats, in characters.
const REQUEST_CHARS_MAX: usize = 200;

/// The admin API over TCP, bound and not yet served.
#[derive(Debug)]
pub struct Tcp {
    listener: TcpListener,
    address: SocketAddr,
    token: AdminToken,
}

impl Tcp {
    /// The admin API on a listener that is bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(listener: TcpListener, config: &AdminTcp) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { listener, address, token: Arc::new(ArcSwap::from_pointee(config.token.clone())) })
    }

    /// Returns the token that every request must carry.
    pub fn token(&self) -> AdminToken {
        Arc::clone(&self.token)
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections until the token of `tasks` is cancelled.
    pub async fn serve(self, admin: Admin, tasks: Tasks) {
        let gate = Gate { port: self.address.port(), token: self.token };
        let shared = Arc::new(TcpState { admin, gate, refusals: Throttle::default() });
        // Registered with the runtime that serves it, which need not be the one that bound it.
        let listener = match self.listener.into_std().and_then(TcpListener::from_std) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the admin API cannot be served over TCP"),
        };
        let accept = || listener.accept();
        let serve = |(stream, from): (TcpStream, SocketAddr), seat| {
            let (shared, tasks) = (Arc::clone(&shared), tasks.clone());
            async move {
                // An error: the connection is gone already.
                if stream.set_nodelay(true).is_ok() {
                    connections::serve(stream, |request| answer(&shared, request, from), tasks, seat).await;
                }
            }
        };
        connections::accept(accept, tasks.clone(), serve).await;
    }
}

/// The state that all connections share.
struct TcpState {
    admin: Admin,
    gate: Gate,
    refusals: Throttle,
}

async fn answer(shared: &TcpState, request: Request<Incoming>, from: SocketAddr) -> Response {
    match shared.gate.check(&request) {
        Ok(()) => routes::answer(&shared.admin, request, Requester::Token).await,
        Err(refusal) => {
            if refusal == GateError::Token
                && let Some(Ok(response)) = routes::probe(&shared.admin, &request, Detail::Names).await
            {
                return response;
            }
            audit(shared, &request, from, refusal);
            let mut response = refusal.problem().into_response();
            // A stranger has one request for each connection, so none keeps a place without asking anew.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

/// Writes a line of the audit log for a change that was requested without the right to.
fn audit(shared: &TcpState, request: &Request<Incoming>, from: SocketAddr, refusal: GateError) {
    if request.method().is_safe() || !refusal.is_of_rights() {
        return;
    }
    if let Some(left_out) = shared.refusals.line(Instant::now()) {
        let request = format!("{} {}", request.method(), request.uri().path());
        let request: String = request.chars().take(REQUEST_CHARS_MAX).collect();
        let left_out = Some(left_out).filter(|count| *count > 0);
        tracing::info!(target: "audit", request, %from, left_out, result = format!("refused: {refusal}"));
    }
}
