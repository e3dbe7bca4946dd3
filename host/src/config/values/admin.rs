//! The admin API over TCP, and where a host is reached from its own machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Secret;

/// The admin API over TCP.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AdminTcp {
    /// Where it listens; port 0 is any free port.
    pub listen: SocketAddr,
    /// What every request must carry: at least 16 bytes of printable ASCII without spaces.
    pub token: Secret,
}

impl AdminTcp {
    /// Whether only this machine can reach the listener.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }
}

/// Where a host of some config is reached from its own machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalEndpoints {
    /// The public listener.
    pub listen: SocketAddr,
    /// Whether that one speaks TLS.
    pub tls: bool,
    /// The admin socket; absolute.
    pub admin_socket: PathBuf,
}
