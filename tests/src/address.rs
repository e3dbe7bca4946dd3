//! Addresses that are known before a listener exists.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};

/// An address of this machine without a listener, which no other test will use.
///
/// Each has a loopback address of its own: the tests that let the system choose a port do so on 127.0.0.1,
/// so the port cannot be taken before it is used, however long that takes.
#[derive(Debug, Clone, Copy)]
pub struct FreeAddress(SocketAddr);

impl FreeAddress {
    /// Finds one.
    ///
    /// # Panics
    /// If the system has no port, or no more than one loopback address.
    #[must_use]
    pub fn find() -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::new(127, high.max(1), low, number);
        let listener = TcpListener::bind((address, 0)).expect("127.0.0.0/8 is this machine");
        Self(listener.local_addr().expect("a bound socket has an address"))
    }

    /// Another address with the same port.
    ///
    /// # Panics
    /// If none of some has it free.
    #[must_use]
    pub fn sibling(self) -> Self {
        let others = std::iter::repeat_with(Self::find)
            .take(8)
            .map(|other| SocketAddr::new(other.0.ip(), self.port()));
        let free = others.into_iter().find(|other| TcpListener::bind(other).is_ok());
        Self(free.expect("one of eight addresses has the port free"))
    }

    /// The address without the port.
    #[must_use]
    pub fn ip(self) -> String {
        self.0.ip().to_string()
    }

    /// `http://ADDRESS:PORT`.
    #[must_use]
    pub fn url(self) -> String {
        format!("http://{}", self.0)
    }

    /// The lines of a config that make a host listen there.
    #[must_use]
    pub fn host(self) -> String {
        format!("server.host = \"{}\"", self.0.ip())
    }

    /// The port.
    #[must_use]
    pub fn port(self) -> u16 {
        self.0.port()
    }
}
