//! The listener: accepts connections, limits them, and ends them gracefully.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::accept;
use super::limits::{ConnectionSlot, Connections, Limit, Strangers, Times};
use super::service::Service;
use super::tls::Tls;
use crate::base::Tasks;
use crate::config;

mod client_stream;
mod connection;
mod head_time;
mod pace;
mod tracked;

pub use connection::Workers;

use connection::{Connection, Streams, protocols};

/// Maximum number of connections beyond the others that are answered only for probes.
const RESERVE: usize = 8;

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

impl Server {
    /// Creates the server, which speaks TLS if `tls` is given; its connections are tasks of `tasks`.
    pub fn new(
        service: Arc<Service>,
        tasks: Tasks,
        config: &config::Server,
        tls: Option<Tls>,
        workers: Workers,
    ) -> Self {
        let times =
            Times { header: config.header_timeout, idle: config.idle_timeout, write: config.write_timeout };
        let of_address = (config.connections_per_address_max, config.proxies.clone());
        let strangers = Strangers::new(config.body_memory_max);
        Self {
            times,
            connections_max: config.connections_max,
            permits: Arc::new(Semaphore::new(config.connections_max)),
            reserve: Arc::new(Semaphore::new(RESERVE)),
            connections: Connections::new(of_address, Arc::clone(&service.meters), strangers),
            protocols: protocols(times.header, config.header_bytes_max, tasks.clone()),
            service,
            tasks,
            tls,
            workers,
        }
    }

    /// Accepts connections until the token of the tasks is cancelled; then the listener is closed at once.
    ///
    /// `listener` is of the runtime that this runs on.
    pub async fn serve(self, listener: TcpListener) {
        while let Some((stream, from)) = accept::next(|| listener.accept(), self.tasks.token()).await {
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
                self.begin(stream, from, slot, permit);
            }
        }
    }

    /// Acquires the right to be open for the connection of `slot`, evicting idle connections if none is free. Functions
    /// that hold all workers keep connections from going: meanwhile, probes have a reserve.
    async fn permit(&self, slot: &ConnectionSlot) -> Option<OwnedSemaphorePermit> {
        let mut is_limited = false;
        let make_room = || {
            if !std::mem::replace(&mut is_limited, true) {
                slot.all.meters.limit(Limit::Connections);
            }
            if *self.workers.all_held.borrow()
                && let Ok(permit) = Arc::clone(&self.reserve).try_acquire_owned()
            {
                return Some(permit);
            }
            self.connections.make_room(slot);
            None
        };
        accept::permit(&self.permits, self.tasks.token(), make_room).await
    }

    /// Serves a connection on a worker; while functions hold all of them, on this very thread.
    fn begin(
        &self,
        stream: std::net::TcpStream,
        from: SocketAddr,
        slot: ConnectionSlot,
        permit: OwnedSemaphorePermit,
    ) {
        let is_reserved = Arc::ptr_eq(permit.semaphore(), &self.reserve);
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
