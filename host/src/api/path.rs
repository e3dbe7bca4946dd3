//! The paths of the admin API.

use std::fmt;

const PREFIX: &str = "/admin/v1/";

/// A resource of the admin API, by its path below `/admin/v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminPath<'a> {
    /// The host itself.
    Host,
    /// A reload of the whole host.
    Reload,
    /// All plugins.
    Plugins,
    /// One plugin, by name.
    Plugin(&'a str),
    /// A change of one plugin, by name.
    Change(&'a str, PluginChange),
    /// The functions of this host.
    Functions,
    /// The peers.
    Peers,
    /// The routing decision for one function, by name.
    Explain(&'a str),
}

/// A change of a loaded plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PluginChange {
    /// Replaces it by what its file holds now.
    Reload,
    /// Replaces it by a retired generation.
    Rollback,
    /// Withdraws it.
    Unload,
}

impl PluginChange {
    const ALL: [Self; 3] = [Self::Reload, Self::Rollback, Self::Unload];

    /// Its name in paths, and in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Rollback => "rollback",
            Self::Unload => "unload",
        }
    }
}

impl<'a> AdminPath<'a> {
    /// Parses the path of a request; `None` if the admin API has no such path.
    pub fn parse(path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix(PREFIX)?.splitn(4, '/').collect();
        let found = match parts[..] {
            ["host"] => Self::Host,
            ["reload"] => Self::Reload,
            ["plugins"] => Self::Plugins,
            ["plugins", name] => Self::Plugin(name),
            ["plugins", name, action] => {
                Self::Change(name, PluginChange::ALL.into_iter().find(|known| known.as_str() == action)?)
            }
            ["functions"] => Self::Functions,
            ["peers"] => Self::Peers,
            ["explain", name] => Self::Explain(name),
            _ => return None,
        };
        Some(found)
    }
}

impl fmt::Display for AdminPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        match self {
            Self::Host => f.write_str("host"),
            Self::Reload => f.write_str("reload"),
            Self::Plugins => f.write_str("plugins"),
            Self::Plugin(name) => write!(f, "plugins/{name}"),
            Self::Change(name, action) => write!(f, "plugins/{name}/{}", action.as_str()),
            Self::Functions => f.write_str("functions"),
            Self::Peers => f.write_str("peers"),
            Self::Explain(name) => write!(f, "explain/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_are_written() {
        let of_plugins =
            PluginChange::ALL.into_iter().map(|action| AdminPath::Change("demo", action)).collect::<Vec<_>>();
        let others = [
            AdminPath::Host,
            AdminPath::Reload,
            AdminPath::Plugins,
            AdminPath::Plugin("demo"),
            AdminPath::Functions,
            AdminPath::Peers,
            AdminPath::Explain("demo.f"),
        ];
        for path in others.into_iter().chain(of_plugins) {
            assert_eq!(AdminPath::parse(&path.to_string()), Some(path));
        }
        for path in [
            "",
            "/",
            "/admin/v1",
            "/admin/v1/",
            "/admin/v2/host",
            "/admin/v1/host/",
            "/admin/v1/plugins/demo/delete",
            "/admin/v1/plugins/demo/reload/now",
            "/admin/v1/explain",
        ] {
            assert_eq!(AdminPath::parse(path), None, "{path}");
        }
    }
}
