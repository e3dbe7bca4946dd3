//! The errors that keep a daemon from starting.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::files::DirFault;
use crate::plugins::PluginError;
use crate::wire::KeyError;

/// An error that keeps the daemon from starting as its config says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: {source}; set server.host and server.port to a free one")]
    Bind {
        /// The address in the config.
        listen: SocketAddr,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The state directory cannot be used.
    #[error("state directory {} cannot be used: {source}; set state_dir to one that this user may write to", .directory.display())]
    State {
        /// The path in the config.
        directory: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// Other users may have written the content of the state directory, or may replace it.
    #[error(
        "the state directory is not safe to use: {0}; or set state_dir to a directory of this user alone"
    )]
    UnsafeState(DirFault),
    /// The admin socket cannot be listened on.
    #[error("cannot listen on the admin socket {}: {source}; set admin.socket to another path", .socket.display())]
    Admin {
        /// The path in the config.
        socket: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The admin API's address cannot be listened on.
    #[error("cannot listen on {listen} for the admin API: {source}; set admin.listen to a free address")]
    AdminTcp {
        /// The address in the config.
        listen: SocketAddr,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A socket that a supervisor handed over cannot be listened on.
    #[error("a socket of LISTEN_FDS cannot be used: {0}")]
    Sockets(String),
    /// Another host uses it.
    #[error("state directory {} is in use by another framex-host: give each host its own state_dir", .0.display())]
    StateInUse(PathBuf),
    /// A secret that seals cannot be used.
    #[error("a key for /api/v1/proxy/remote in plugins.proxy.auth.rules cannot be used: {0}")]
    Key(#[from] KeyError),
    /// A key of a caller cannot be used.
    #[error("a key of auth.callers.{caller} cannot be used: {source}")]
    KeyOfCaller {
        /// The caller's name.
        caller: std::sync::Arc<str>,
        /// The reason.
        source: KeyError,
    },
    /// A plugin that the config requires, or the plugin directory.
    #[error("{0}")]
    Plugin(PluginError),
    /// The signals that stop it cannot be listened to.
    #[error("signals cannot be listened to: {0}")]
    Signals(std::io::Error),
    /// A signal of this number came before it was ready.
    #[error("stopped by signal {0} before it was ready")]
    Stopped(i32),
    /// A thread that was given work died.
    #[error("a start-up thread died")]
    Thread,
}

impl AppError {
    /// Returns the error of a state directory that cannot be used.
    pub fn state(directory: &Path, fault: DirFault) -> Self {
        match fault {
            DirFault::System { path, source } if path == directory => Self::State { directory: path, source },
            fault @ DirFault::System { .. } => {
                Self::State { directory: directory.to_owned(), source: std::io::Error::other(fault) }
            }
            fault => Self::UnsafeState(fault),
        }
    }

    /// Returns true if the config is at fault, rather than a plugin or the machine.
    pub fn is_config(&self) -> bool {
        match self {
            Self::Bind { .. }
            | Self::State { .. }
            | Self::UnsafeState(_)
            | Self::Admin { .. }
            | Self::AdminTcp { .. }
            | Self::Sockets(_)
            | Self::StateInUse(_)
            | Self::Key(_)
            | Self::KeyOfCaller { .. } => true,
            Self::Plugin(error) => {
                matches!(error, PluginError::Directory { .. } | PluginError::WritableDirectory { .. })
            }
            Self::Signals(_) | Self::Stopped(_) | Self::Thread => false,
        }
    }
}
