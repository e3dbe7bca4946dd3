//! One peer of the config, and the discovery of the peers behind its URL.

use std::path::PathBuf;

use super::{PathPatterns, PeerUrl, Secret};
use crate::base::HostId;

/// One peer, and the paths that this host may call there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConfiguredPeer {
    /// Its URL.
    pub url: PeerUrl,
    /// Seals calls to it, if it has a secret of its own.
    pub key: Option<Secret>,
    /// Among the peers of one function: lower ones are asked first, 0 to 255.
    pub priority: u8,
    /// Its share of the calls among peers of its priority, 1 to 1000.
    pub weight: u16,
    /// The discovery of the peers behind the URL.
    pub discover: Discover,
    /// The only host that may answer at the URL.
    pub host_id: Option<HostId>,
    /// Frames name the process that they are for.
    pub bind: bool,
    /// The paths that may be called; every path by default.
    pub enable: PathPatterns,
    /// The paths that may not be called, even if `enable` has them.
    pub disable: PathPatterns,
    pub(in crate::config) white_list: Option<PathPatterns>,
}

impl ConfiguredPeer {
    /// Returns true if it is certainly on this machine.
    pub fn is_on_this_machine(&self) -> bool {
        self.url.is_loopback() && self.discover == Discover::Static
    }

    /// Returns true if this host may call `path` there: `white_list` and `enable` have it, `disable` does not.
    pub fn allows(&self, path: &str) -> bool {
        let listed = self.white_list.as_ref().is_none_or(|list| list.covers(path));
        listed && self.enable.covers(path) && !self.disable.covers(path)
    }
}

/// The discovery of the peers behind one URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Discover {
    /// The URL is one peer.
    #[default]
    Static,
    /// Every address of its name is one (A and AAAA records).
    Dns,
    /// Every target of its name is one, with the port, priority and weight of its record (SRV, RFC 2782).
    Srv,
    /// Every URL in the file, a JSON list, is one.
    File(PathBuf),
}

impl Discover {
    /// Returns the text of the config.
    pub fn text(&self) -> String {
        match self {
            Self::Static => "static".to_owned(),
            Self::Dns => "dns".to_owned(),
            Self::Srv => "srv".to_owned(),
            Self::File(path) => format!("file:{}", path.display()),
        }
    }
}
