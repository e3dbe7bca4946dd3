//! The listener: accepts connections, limits them, and ends them gracefully.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::accept;
use super::limits::{ConnectionSlot, Connections, Limit, Strangers, Times};
use super::service::Service;
use super::tls::Tls;
use crate::base::Tasks;
use crate::config::Networks;

mod client_stream;
mod connection;
mod head_time;
mod linger;
mod pace;
mod tracked;
mod write_timeout;

pub use connection::Workers;

use connection::{Connection, Streams, protocols};

/// Maximum number of connections beyond the others that are answered only for probes.
const RESERVE: usize = 8;

/// The settings of the listener.
#[derive(Debug)]
pub struct ListenerConfig {
    /// TLS, if the listener speaks it.
    pub tls: Option<Tls>,
    /// Maximum number of open connections: for one more, the least active one is evicted.
    pub connections_max: usize,
    /// Maximum number of open connections from one address; more are closed.
    pub connections_per_address_max: usize,
    /// Addresses of reverse proxies: each of their connections counts as an address of its own.
    pub proxies: Networks,
    /// Largest head of a request in bytes.
    pub header_bytes_max: usize,
    /// Longest time for the TLS handshake, and for the head of a request once it has begun; for the first one, since the
    /// connection was accepted.
    pub header_timeout: Duration,
    /// Longest time that a connection may do nothing after a request.
    pub idle_timeout: Duration,
    /// Longest time that a client may stop reading a response.
    pub write_timeout: Duration,
}

/// The public server. It accepts on the thread of the admin API, and hands each connection to the workers: functions that
/// hold all of them keep neither probes from an answer nor the listener from closing.
#[derive(Debug)]
pub struct Server {
    service: Arc<Service>,
    tasks: Tasks,
    tls: Option<Tls>,
    times: Times,
    connections_max: usize,
    permits: Arc<Semaphore>,
    /// The permits of connections for probes alone.
    reserve: Arc<Semaphore>,
    connections: Arc<Connections>,
    protocols: auto::Builder<Streams>,
    workers: Workers,
}

/// The right of one connection to be open.
struct ConnectionPermit {
    permit: OwnedSemaphorePermit,
    /// It is of the reserve for probes.
    is_reserved: bool,
}

impl Server {
    /// Creates the server; its connections are tasks of `tasks`.
    #[must_use]
    pub fn new(service: Arc<Service>, tasks: Tasks, config: ListenerConfig, workers: Workers) -> Self {
        let ListenerConfig { tls, connections_max, connections_per_address_max, proxies, .. } = config;
        let times =
            Times { header: config.header_timeout, idle: config.idle_timeout, write: config.write_timeout };
        let strangers = Strangers::new(service.body_memory.max());
        let of_address = (connections_per_address_max, proxies);
        let connections = Connections::new(of_address, Arc::clone(&service.meters), strangers);
        let (permits, reserve) =
            (Arc::new(Semaphore::new(connections_max)), Arc::new(Semaphore::new(RESERVE)));
        let protocols = protocols(times.header, config.header_bytes_max, tasks.clone());
        Self {
            service,
            tasks,
            tls,
            times,
            connections_max,
            permits,
            reserve,
            connections,
            protocols,
            workers,
        }
    }

    /// Accepts connections until the token of the tasks is cancelled; then the listener is closed at once.
    ///
    /// `listener` is of the runtime that this runs on.
    pub async fn serve(self, listener: TcpListener) {
        while let Some((stream, from)) = accept::next(&listener, self.tasks.token()).await {
            let Some(slot) = self.connections.enter(from) else { continue };
            let Some(permit) = self.permit(&slot).await else { break };
            // An error: the connection is gone already.
            if let Ok(stream) = stream.into_std() {
                self.begin(stream, from, slot, permit);
            }
        }
        // What the system has taken in already is served: a request may be on its way there, and its sender could
        // not know whether it ran if the connection were reset. From here on, connections are refused.
        for (stream, from) in waiting(listener, self.connections_max) {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { break };
            if let Some(slot) = self.connections.enter(from) {
                self.begin(stream, from, slot, ConnectionPermit { permit, is_reserved: false });
            }
        }
    }

    /// Acquires the right to be open for the connection of `slot`, evicting idle connections if none is free. Functions
    /// that hold all workers keep connections from going: meanwhile, probes have a reserve.
    async fn permit(&self, slot: &ConnectionSlot) -> Option<ConnectionPermit> {
        let mut is_reserved = false;
        let mut is_limited = false;
        let permit = accept::permit(&self.permits, self.tasks.token(), || {
            if !std::mem::replace(&mut is_limited, true) {
                slot.meters().limit(Limit::Connections);
            }
            if *self.workers.all_held.borrow()
                && let Ok(permit) = Arc::clone(&self.reserve).try_acquire_owned()
            {
                is_reserved = true;
                return Some(permit);
            }
            self.connections.make_room(slot);
            None
        });
        Some(ConnectionPermit { permit: permit.await?, is_reserved })
    }

    /// Serves a connection on a worker; while functions hold all of them, on this very thread.
    fn begin(
        &self,
        stream: std::net::TcpStream,
        from: SocketAddr,
        slot: ConnectionSlot,
        permit: ConnectionPermit,
    ) {
        let ConnectionPermit { permit, is_reserved } = permit;
        let all_held = is_reserved || *self.workers.all_held.borrow();
        let connection = Connection {
            service: Arc::clone(&self.service),
            protocols: self.protocols.clone(),
            times: self.times,
            slot,
            tasks: self.tasks.clone(),
            workers: all_held.then(|| Box::new(self.workers.clone())),
            is_reserved,
        };
        let tls = self.tls.clone();
        let serving = async move {
            // An error: the connection is gone already.
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                connection.serve(stream, from, tls).await;
            }
            drop(permit);
        };
        if all_held {
            self.tasks.spawn(serving);
        } else {
            self.tasks.spawn_on(&self.workers.runtime, serving);
        }
    }
}

/// Returns at most `most` connections that the system has established and the host has not accepted; closes the listener.
fn waiting(listener: TcpListener, most: usize) -> Vec<(std::net::TcpStream, SocketAddr)> {
    // Asked of the system: the runtime's own listener may not have heard of them yet.
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    std::iter::from_fn(|| listener.accept().ok()).take(most).collect()
}
