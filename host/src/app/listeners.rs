//! The sockets of a daemon, bound and not yet served.

use std::net::SocketAddr;

use tokio::net::{TcpListener, UnixListener};

use super::{AppError, Sockets};
use crate::config::Config;
use crate::files::SocketPlace;
use crate::http::{Tls, admin};

/// The sockets of a daemon.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) public: TcpListener,
    /// The certificate of the public listener, if it speaks TLS.
    pub(super) tls: Option<Tls>,
    pub(super) admin: UnixListener,
    pub(super) admin_place: SocketPlace,
    /// The admin API over TCP, if it is configured.
    pub(super) admin_tcp: Option<admin::Tcp>,
}

impl Listeners {
    /// Binds what the config asks for, or takes it from `sockets`.
    ///
    /// # Errors
    /// [`AppError`] for an address or a path that cannot be listened on, and for a socket without a use.
    pub(super) async fn bind(config: &Config, mut sockets: Sockets) -> Result<Self, AppError> {
        let listen = config.server.listen();
        let public = match sockets.public(listen)? {
            Some(listener) => listener,
            None => TcpListener::bind(listen).await.map_err(|source| AppError::Bind { listen, source })?,
        };
        let socket = &config.admin_socket;
        let (admin, admin_place) =
            admin::bind(socket).map_err(|source| AppError::Admin { socket: socket.clone(), source })?;
        let admin_tcp = match &config.admin_tcp {
            Some(tcp) => {
                let refused = |source| AppError::AdminTcp { listen: tcp.listen, source };
                let listener = match sockets.admin(tcp.listen)? {
                    Some(listener) => listener,
                    None => TcpListener::bind(tcp.listen).await.map_err(refused)?,
                };
                Some(admin::Tcp::new(listener, tcp).map_err(refused)?)
            }
            None => None,
        };
        sockets.check_all_used()?;
        let tls = config.server_tls.as_ref().map(Tls::new);
        Ok(Self { public, tls, admin, admin_place, admin_tcp })
    }

    /// The address of the public listener.
    pub(super) fn address(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }
}
