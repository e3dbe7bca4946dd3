//! The admin API over TCP, and the endpoints of a host for its own machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Secret;

/// The admin API over TCP.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AdminTcp {
    /// The address of the listener; port 0 is any free port.
    pub listen: SocketAddr,
    /// The secret that every request must carry: at least 16 bytes of printable ASCII without spaces.
    pub token: Secret,
}

impl AdminTcp {
    /// Returns true if only this machine can reach the listener.
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }
}

/// The endpoints of a host for commands of its own machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalEndpoints {
    /// The public listener.
    pub listen: SocketAddr,
    /// The public listener speaks TLS.
    pub tls: bool,
    /// The admin socket; absolute.
    pub admin_socket: PathBuf,
}
