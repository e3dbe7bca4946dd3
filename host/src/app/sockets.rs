//! Sockets that a supervisor has bound and hands over (`LISTEN_FDS`, sd_listen_fds(3)): while the host restarts, they
//! stay open, and connections wait instead of being refused.
//!
//! A socket named `admin` (`FileDescriptorName=` of a socket unit, `LISTEN_FDNAMES`) is for the admin API over TCP; any
//! other one is the public listener. A socket must be bound to the address in the config, since the host decides by
//! that address who can reach it.

use std::net::{SocketAddr, TcpListener as StdListener};

use tokio::net::TcpListener;

use super::AppError;

/// The name of the socket of the admin API.
const ADMIN: &str = "admin";

/// The sockets from the supervisor that are not used yet.
#[derive(Debug, Default)]
pub struct Sockets {
    public: Option<StdListener>,
    admin: Option<StdListener>,
}

impl Sockets {
    /// Takes the sockets that the environment names, and removes its variables. Call it before there are threads that
    /// read them.
    ///
    /// # Errors
    /// A socket that does not listen on TCP, or a second one for the same purpose.
    pub fn of_process() -> Result<Self, AppError> {
        let refused = |text: String| AppError::Sockets(text);
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = listenfd::ListenFd::from_env();
        let mut sockets = Self::default();
        for number in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let taken = passed.take_tcp_listener(number);
            let taken = taken.map_err(|error| refused(format!("socket {number} `{name}`: {error}")))?;
            let Some(socket) = taken else { continue };
            let place = if name == ADMIN { &mut sockets.admin } else { &mut sockets.public };
            if place.replace(socket).is_some() {
                return Err(refused(format!(
                    "socket {number} `{name}` is one too many: the host takes one, and one named `{ADMIN}`"
                )));
            }
        }
        Ok(sockets)
    }

    /// Takes the public listener if the supervisor bound it.
    pub(super) fn public(&mut self, listen: SocketAddr) -> Result<Option<TcpListener>, AppError> {
        take(self.public.take(), listen, "server.host and server.port")
    }

    /// Takes the listener of the admin API if the supervisor bound it.
    pub(super) fn admin(&mut self, listen: SocketAddr) -> Result<Option<TcpListener>, AppError> {
        take(self.admin.take(), listen, "admin.listen")
    }

    /// Refuses a socket without a use: connections to it would wait forever.
    pub(super) fn check_all_used(&self) -> Result<(), AppError> {
        match self.admin {
            None => Ok(()),
            Some(_) => Err(AppError::Sockets(format!(
                "the socket `{ADMIN}` is of no use without admin.listen and admin.token in the config"
            ))),
        }
    }
}

fn take(
    socket: Option<StdListener>,
    listen: SocketAddr,
    keys: &str,
) -> Result<Option<TcpListener>, AppError> {
    let Some(socket) = socket else { return Ok(None) };
    let unusable = |error: std::io::Error| AppError::Sockets(error.to_string());
    let bound = socket.local_addr().map_err(unusable)?;
    let fits = bound.ip() == listen.ip() && (listen.port() == 0 || bound.port() == listen.port());
    if !fits {
        return Err(AppError::Sockets(format!(
            "the socket is bound to {bound}, and {keys} say {listen}: give both the same address"
        )));
    }
    socket.set_nonblocking(true).map_err(unusable)?;
    TcpListener::from_std(socket).map(Some).map_err(unusable)
}
