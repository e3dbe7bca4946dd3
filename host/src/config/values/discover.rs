//! How the peers behind one URL are found: `plugins.proxy.proxy_urls."URL".discover`.

use std::path::PathBuf;

/// How the peers behind one URL are found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Discover {
    /// The URL is one peer.
    #[default]
    Static,
    /// Every address of its name is one (A and AAAA records).
    Dns,
    /// Every target of its name is one, with the port, priority and weight that it says (SRV records, RFC 2782).
    Srv,
    /// Every URL in the file, a JSON list, is one.
    File(PathBuf),
}

impl Discover {
    /// As the config has it.
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
