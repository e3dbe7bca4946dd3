//! What the whole-daemon tests share: real daemons in scratch folders, real plugin files, scripted peers.
//!
//! Build the workspace before running them (`scripts/test.sh` does): they use the binary and the plugins
//! of the same target folder that they were built into.

mod address;
mod daemon;
mod faulty_peer;
mod files;
pub mod frames;
mod http;

pub use address::FreeAddress;
pub use daemon::{Daemon, DaemonBuilder, Exit, run_to_end};
pub use faulty_peer::{Conversation, FaultyPeer, http_answer};
pub use files::{host_binary, plugin_file, target_folder};
pub use http::{Answer, get, post, send};
