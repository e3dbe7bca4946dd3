//! One peer of the config, and what this host may call there.

use super::{Discover, PathPatterns, PeerUrl, Secret};
use crate::base::HostId;

/// One peer, and what this host will call there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConfiguredPeer {
    /// Where it is.
    pub url: PeerUrl,
    /// What seals calls to it, if it has a secret of its own.
    pub key: Option<Secret>,
    /// Among the peers of one function: lower ones are asked first, 0 to 255.
    pub priority: u8,
    /// Its part of the calls, against those of the others of its priority, 1 to 1000.
    pub weight: u16,
    /// How the peers behind the URL are found.
    pub discover: Discover,
    /// The only host that may answer at the URL.
    pub host_id: Option<HostId>,
    /// Frames name the process that they are for.
    pub bind: bool,
    /// The paths that may be called; every path by default.
    pub enable: PathPatterns,
    /// The paths that may not, even if `enable` has them.
    pub disable: PathPatterns,
    pub(in crate::config) white_list: Option<PathPatterns>,
}

impl ConfiguredPeer {
    /// Whether it is sure to be on this machine, wherever it is found.
    #[must_use]
    pub fn is_on_this_machine(&self) -> bool {
        self.url.is_loopback() && self.discover == Discover::Static
    }

    /// Whether this host may call `path` there: `white_list` and `enable` have it, `disable` has not.
    #[must_use]
    pub fn allows(&self, path: &str) -> bool {
        let listed = self.white_list.as_ref().is_none_or(|list| list.covers(path));
        listed && self.enable.covers(path) && !self.disable.covers(path)
    }
}
