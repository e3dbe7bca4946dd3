//! The discovery of the peers behind one URL.

use std::path::PathBuf;

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
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Static => "static".to_owned(),
            Self::Dns => "dns".to_owned(),
            Self::Srv => "srv".to_owned(),
            Self::File(path) => format!("file:{}", path.display()),
        }
    }
}
