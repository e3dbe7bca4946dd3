//! What the operator wants: defaults, then `config.toml`, then `FRAMEX_` variables, then flags.
//!
//! Everything is read and checked once, at the edge; a [`Config`] that exists is right, and nothing
//! inside the host checks it again.
//!
//! Layer: above `base` only. It must never bind, connect, or load a plugin, and it must never let a
//! secret out through an error, a dump or a `Debug` text.

mod access;
mod addresses;
mod admin;
mod build;
mod callers;
mod catalogue;
mod cross_checks;
mod discover;
mod dump;
mod environment;
mod error;
mod key;
mod keys;
mod keyword;
mod layers;
mod limits;
mod names;
mod number;
mod outbound;
mod peer_url;
mod plugin_table;
mod proxy;
mod raw;
mod read;
mod restart;
mod rules;
mod schema;
mod secret;
mod sources;
mod table;
#[cfg(test)]
mod testing;
mod tls;
mod trust;
mod validator;
mod warnings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::api::{FUNCTIONS_PATH, HEALTH_PATH, OPENAPI_PATH, READY_PATH, REMOTE_PATH};
use crate::base::HostId;

pub use access::{Access, Closed, SealedCalls};
pub use addresses::{AllowedAddresses, Networks};
pub use admin::{AdminTcp, LocalEndpoints};
pub use callers::{Callers, ConfiguredCaller};
pub use discover::Discover;
pub use environment::{COMMAND_LINE_VARIABLES, Environment};
pub use error::{ConfigError, InvalidPath, InvalidPeerUrl, Origin, Problem};
pub use keys::{Log, Proxy, Reload, Server};
pub use keyword::{Compression, Fallback, Keyword, LogFormat, LogLevel, Unmap};
pub use layers::Overrides;
pub use limits::{CallLimits, FunctionLimit};
pub use names::Known;
pub use outbound::{OutboundProxies, OutboundProxy};
pub use peer_url::PeerUrl;
pub use plugin_table::PluginSettings;
pub use proxy::Peer;
pub use read::{absolute_file, read_bounded};
pub use rules::{AuthRules, PathPattern, PathPatterns};
pub use secret::{PUBLIC_KEY, PresentedKey, Secret, SecretSource};
pub use tls::{PeerTls, ServerTls, why_distrusted};
pub use trust::{KeyId, Trust, TrustedKey};

/// The whole configuration of one host, checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The file that it was read from, as it was given.
    pub file: PathBuf,
    /// Shown as served-by and sent to peers: 1 to 64 bytes of printable ASCII without spaces.
    pub host_id: HostId,
    /// Where plugin files lie; absolute.
    pub plugin_dir: PathBuf,
    /// Private: the lock, the admin socket, staged copies of plugins; absolute.
    pub state_dir: PathBuf,
    /// The plugins to load, by name; `None` for every plugin file in `plugin_dir`.
    pub load_plugins: Option<Vec<String>>,
    /// The public listener and its limits.
    pub server: Server,
    /// The certificate of the public listener; without one, it speaks plain HTTP.
    pub server_tls: Option<ServerTls>,
    /// Where the admin API listens, a unix socket; absolute.
    pub admin_socket: PathBuf,
    /// Where it listens as well, over TCP.
    pub admin_tcp: Option<AdminTcp>,
    /// Peers, and which functions run there.
    pub proxy: Proxy,
    /// How many calls of plugins and functions run here at once, and how many wait.
    pub limits: CallLimits,
    /// How plugins are replaced.
    pub reload: Reload,
    /// Whose plugin files are loaded.
    pub trust: Trust,
    /// How the host logs.
    pub log: Log,
    /// Who may call which functions; without any, whoever gets to the door may call all.
    pub callers: Callers,
    plugin_settings: BTreeMap<String, PluginSettings>,
    auth: Option<AuthRules>,
    proxy_auth: AuthRules,
    has_default_host_id: bool,
    /// Variables that begin as those of the config do, and name no key.
    stray_variables: Vec<String>,
    literal_secrets: Vec<String>,
    readable_by_others: bool,
    has_text: bool,
}

impl Config {
    /// Reads the file, at most 1 MiB, and lays the variables of this process and `overrides` over it.
    ///
    /// # Errors
    /// [`ConfigError`], with every problem that could be found in one go.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::load_with(path, &Environment::of_process(), overrides)
    }

    /// Reads the file again for a reload. A pipe gives its text once: one without text is refused, because it would put
    /// every key back to its default.
    ///
    /// # Errors
    /// As [`Config::load`], and [`ConfigError::Drained`].
    pub fn reload(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let config = Self::load(path, overrides)?;
        if !config.has_text && !path.is_file() {
            return Err(ConfigError::Drained(path.to_owned()));
        }
        Ok(config)
    }

    /// As [`Config::load`], with the variables passed in.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(
        path: &Path,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        Self::from_file(&read::config_file(path)?, path, environment, overrides)
    }

    fn from_file(
        file: &read::ConfigFile,
        path: &Path,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::from_text(&file.text, path, environment, overrides)?;
        config.readable_by_others = file.readable_by_others;
        config.has_text = !file.text.trim().is_empty();
        Ok(config)
    }

    /// As [`Config::load_with`], with the text of the file passed in; `path` names it in errors, and
    /// relative paths are relative to its folder.
    ///
    /// # Errors
    /// As [`Config::load`], without those of reading the file.
    pub fn from_text(
        text: &str,
        path: &Path,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let (raw, sources) = layers::merge(text, path, environment, overrides)?;
        build::config(raw, &sources, environment)
    }

    /// The files that this config was read from: the config file, and those that secrets, certificates and keys of
    /// plugins' signatures are in.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let of_peers = self.proxy.peers.iter().filter_map(|peer| peer.key.as_ref());
        let rules = self.auth.iter().chain(std::iter::once(&self.proxy_auth));
        let of_rules = rules.flat_map(|rules| rules.iter().flat_map(|(_, keys)| keys));
        let of_admin = self.admin_tcp.iter().map(|tcp| &tcp.token);
        let secrets = of_rules.chain(self.callers.keys()).chain(of_peers).chain(of_admin);
        let files = secrets.filter_map(|secret| match secret.source() {
            SecretSource::File(path) => Some(path.clone()),
            _ => None,
        });
        let of_tls = self.server_tls.iter().flat_map(ServerTls::files);
        let of_tls = of_tls.chain(self.proxy.tls.iter().flat_map(PeerTls::files)).cloned();
        let of_trust = self.trust.files.iter().cloned();
        std::iter::once(self.file.clone()).chain(files).chain(of_tls).chain(of_trust).collect()
    }

    /// The table `[trust]` of a file and of variables alone: the secrets that the rest names need not be there.
    ///
    /// # Errors
    /// As [`Config::load_with`], without what is wrong with values of other tables.
    pub fn trust_of(path: &Path, environment: &Environment) -> Result<Trust, ConfigError> {
        let file = read::config_file(path)?;
        let (raw, sources) = layers::merge(&file.text, path, environment, &Overrides::default())?;
        build::trust(raw, &sources, environment)
    }

    /// The rules that the HTTP door enforces: those of `[auth]` where it has some, otherwise those
    /// of `[plugins.proxy.auth]`: callers alone do not open what these protect.
    ///
    /// [`REMOTE_PATH`] has its own door: there, being able to seal is the proof.
    #[must_use]
    pub fn door_rules(&self) -> &AuthRules {
        self.auth.as_ref().unwrap_or(&self.proxy_auth)
    }

    /// The secrets for [`REMOTE_PATH`]: the first seals, all of them open; empty without any.
    ///
    /// They are those of `[plugins.proxy.auth]`, by the usual precedence of its rules, otherwise
    /// those of the rule of `[auth]` for exactly this path: a rule like `/api/v1/*` there holds the
    /// keys of callers, which peers do not know.
    #[must_use]
    pub fn sealing_secrets(&self) -> &[Secret] {
        let of_callers = || self.auth.as_ref().and_then(|rules| rules.keys_of(REMOTE_PATH));
        self.proxy_auth.keys_for(REMOTE_PATH).or_else(of_callers).unwrap_or_default()
    }

    /// The secret that seals calls to `peer`: its own where it has one, otherwise the first of
    /// [`Config::sealing_secrets`].
    #[must_use]
    pub fn sealing_secret_for<'a>(&'a self, peer: &'a Peer) -> Option<&'a Secret> {
        peer.key.as_ref().or_else(|| self.sealing_secrets().first())
    }

    /// The config file, absolute and without links; as far as the system says.
    #[must_use]
    pub fn absolute_file(&self) -> PathBuf {
        absolute_file(&self.file)
    }

    /// The id of the host where the config says one: without, each start has another.
    #[must_use]
    pub fn configured_host_id(&self) -> Option<&str> {
        (!self.has_default_host_id).then_some(&*self.host_id)
    }

    /// Whether plugins are looked for in the folder `plugins` beside the config file, which may be missing.
    #[must_use]
    pub fn has_default_plugin_dir(&self) -> bool {
        let file = std::path::absolute(&self.file).unwrap_or_default();
        file.parent().is_some_and(|folder| self.plugin_dir == folder.join("plugins"))
    }

    /// Returns true if [`REMOTE_PATH`] answers at all.
    #[must_use]
    pub fn answers_peers(&self) -> bool {
        !matches!(self.sealed_calls(), SealedCalls::Closed(_))
    }
}

impl Server {
    /// Returns where it listens.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Whether only this machine can reach the listener.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.to_canonical().is_loopback()
    }
}
