//! What the operator wants: defaults, then `config.toml`, then `FRAMEX_` variables, then flags.
//!
//! Everything is read and checked once, at the edge; a [`Config`] that exists is right, and nothing
//! inside the host checks it again.
//!
//! From the bottom up: `error` and `key`; `read` finds the values and where they were written; `values` has the types
//! that come out; `keys` declares every key; `check` checks the tables, one file each; [`Config`] is the whole, and
//! `load` makes one; `access`, `catalogue` and `restart` decide from it; `report` shows it.
//!
//! Layer: above `base`, `api` and `files` only. It must never bind, connect, or load a plugin, and it must never let a
//! secret out through an error, a dump or a `Debug` text.

mod access;
mod catalogue;
mod check;
mod error;
mod key;
mod keys;
mod load;
mod read;
mod report;
mod restart;
#[cfg(test)]
mod testing;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::api::REMOTE_PATH;
use crate::base::HostId;

pub use access::{Access, Closed, SealedCalls};
pub use check::why_distrusted;
pub use error::{ConfigError, ConfigProblem, ValueOrigin};
pub use keys::{Log, Proxy, Reload, Server};
pub use read::{COMMAND_LINE_VARIABLES, Environment, Overrides, absolute_file, read_bounded};
pub use report::Known;
pub use values::{
    AdminTcp, AllowedAddresses, AuthRules, CallLimits, Callers, ConfiguredCaller, ConfiguredPeer, Discover,
    Fallback, FrameCompression, FunctionLimit, InvalidPath, InvalidPeerUrl, Keyword, LocalEndpoints,
    LogFormat, LogLevel, MinisignKeyId, Networks, OutboundProxies, OutboundProxy, PUBLIC_KEY, PathPattern,
    PathPatterns, PeerTls, PeerUrl, PluginSettings, PresentedKey, Secret, SecretSource, ServerTls, Trust,
    TrustedKey, Unmap,
};

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
    pub fn sealing_secret_for<'a>(&'a self, peer: &'a ConfiguredPeer) -> Option<&'a Secret> {
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

    /// The table `[plugins.NAME]` as JSON; an empty object where there is none.
    #[must_use]
    pub fn plugin_settings(&self, plugin: &str) -> Value {
        let settings = self.plugin_settings.get(plugin).map(|settings| settings.table.clone());
        settings.unwrap_or_else(|| Value::Object(Map::new()))
    }

    /// Where the values of that table were written, as `config_origins` of the ABI has it.
    #[must_use]
    pub fn plugin_origins(&self, plugin: &str) -> Value {
        let settings = self.plugin_settings.get(plugin).map(|settings| settings.origins.clone());
        settings.unwrap_or_else(|| Value::Array(Vec::new()))
    }
}
