//! The harness of the whole-daemon tests: real daemons in scratch folders, real plugin files, scripted peers.
//!
//! Build the workspace before running them (`scripts/test.sh` does): they use the binary and the plugins
//! of the same target folder that they were built into.

#![allow(clippy::missing_panics_doc, reason = "everything here panics where a test would fail")]

mod address;
mod admin;
mod balancer;
pub mod broken;
mod build;
mod daemon;
mod dns_server;
mod faulty_peer;
mod files;
mod forward_proxy;
pub mod frames;
mod http;
mod log;
mod mariadb;
mod mounts;
mod networks;
mod nginx;
mod proc_files;
mod process;
mod relay;
mod tls;
mod waiting;
mod wall_clock;

pub use address::FreeAddress;
pub use balancer::Balancer;
pub use build::Build;
pub use daemon::{Daemon, DaemonBuilder};
pub use dns_server::DnsServer;
pub use faulty_peer::{Conversation, FaultyPeer, http_answer};
pub use files::{host_binary, host_command, is_instrumented, plugin_file, target_folder};
pub use forward_proxy::ForwardProxy;
pub use http::{Answer, Client, ClosedPort, Pending, get, post, send};
pub use mariadb::MariaDb;
pub use mounts::Mounts;
pub use networks::Networks;
pub use nginx::Nginx;
pub use process::{Exit, run_to_end, say_skipped};
pub use relay::{Copied, Fault, Relay};
pub use tls::{Authority, Issued, TlsClient, TlsStream};
pub use waiting::until;
pub use wall_clock::WallClock;
