//! The config of the operator: defaults, then `config.toml`, then `FRAMEX_` variables, then flags.
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
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::api::REMOTE_PATH;
use crate::base::HostId;
use values::{PluginSettings, SecretSource};

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
    PathPatterns, PeerTls, PeerUrl, PresentedKey, Probe, Secret, ServerTls, Trust, TrustedKey, Unmap,
};

/// The whole configuration of one host, checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The file that it was read from, as it was given.
    pub file: PathBuf,
    /// Shown as served-by, and sent to peers: 1 to 64 bytes of printable ASCII without spaces.
    pub host_id: HostId,
    /// The folder of plugin files; absolute.
    pub plugin_dir: PathBuf,
    /// Private: the lock, the admin socket, staged copies of plugins; absolute.
    pub state_dir: PathBuf,
    /// The plugins to load, by name; `None` for every plugin file in `plugin_dir`.
    pub load_plugins: Option<Vec<String>>,
    /// The public listener and its limits.
    pub server: Server,
    /// The certificate of the public listener; without one, it speaks plain HTTP.
    pub server_tls: Option<ServerTls>,
    /// The unix socket of the admin API; absolute.
    pub admin_socket: PathBuf,
    /// The TCP listener of the admin API.
    pub admin_tcp: Option<AdminTcp>,
    /// Peers, and which functions run there.
    pub proxy: Proxy,
    /// The limits of concurrent and queued calls of plugins and functions.
    pub limits: CallLimits,
    /// The replacement of plugins.
    pub reload: Reload,
    /// The plugin files that are trusted.
    pub trust: Trust,
    /// The log of the host.
    pub log: Log,
    /// The callers with their functions; without any, every client of the listener may call all.
    pub callers: Callers,
    plugin_settings: BTreeMap<String, PluginSettings>,
    auth: Option<AuthRules>,
    proxy_auth: AuthRules,
    has_default_host_id: bool,
    /// Variables with the prefix of the config that resemble no key.
    stray_variables: Vec<String>,
    literal_secrets: Vec<String>,
    readable_by_others: bool,
    has_text: bool,
}

impl Config {
    /// Returns the files that this config was read from: the config file, and the files of secrets, certificates and keys
    /// of plugins' signatures.
    pub fn files(&self) -> Vec<PathBuf> {
        let files = self.secrets().filter_map(|(_, secret)| match &secret.source {
            SecretSource::File { path, .. } => Some(path.clone()),
            _ => None,
        });
        let of_tls = self.server_tls.iter().flat_map(ServerTls::files);
        let of_tls = of_tls.chain(self.proxy.tls.iter().flat_map(PeerTls::files)).cloned();
        let of_trust = self.trust.files.iter().cloned();
        std::iter::once(self.file.clone()).chain(files).chain(of_tls).chain(of_trust).collect()
    }

    /// Returns all secrets, each with its key.
    fn secrets(&self) -> impl Iterator<Item = (String, &Secret)> {
        let rules =
            self.auth.iter().map(|rules| ("auth", rules)).chain([("plugins.proxy.auth", &self.proxy_auth)]);
        let of_rules = rules.flat_map(|(table, rules)| {
            rules.iter().flat_map(move |(pattern, keys)| {
                keys.iter().map(move |key| (format!("{table}.rules.\"{pattern}\""), key))
            })
        });
        let of_callers = self.callers.iter().flat_map(|known| {
            known.keys.iter().map(|key| (format!("auth.callers.{}.keys", known.caller.name), key))
        });
        let of_peers = self.proxy.peers.iter().filter_map(|peer| {
            Some((format!("plugins.proxy.proxy_urls.\"{}\".key", peer.url), peer.key.as_ref()?))
        });
        let of_admin = self.admin_tcp.iter().map(|tcp| ("admin.token".to_owned(), &tcp.token));
        of_rules.chain(of_callers).chain(of_peers).chain(of_admin)
    }

    /// Returns the rules that the public listener enforces: `auth.rules`, or without them the rules of
    /// `[plugins.proxy.auth]`, also if there are callers.
    ///
    /// [`REMOTE_PATH`] does not follow them: there, a sealed frame is the proof.
    pub fn listener_rules(&self) -> &AuthRules {
        self.auth.as_ref().unwrap_or(&self.proxy_auth)
    }

    /// Returns the secrets for [`REMOTE_PATH`]: the first seals, all of them open.
    ///
    /// They come from `[plugins.proxy.auth]`, by the usual precedence of its rules, otherwise from the rule of `[auth]`
    /// for exactly this path: a rule like `/api/v1/*` there holds the keys of callers, which peers do not know.
    pub fn sealing_secrets(&self) -> &[Secret] {
        let of_callers = || self.auth.as_ref().and_then(|rules| rules.keys_of(REMOTE_PATH));
        self.proxy_auth.keys_for(REMOTE_PATH).or_else(of_callers).unwrap_or_default()
    }

    /// Returns the secret that seals calls to `peer`: its own, or else the first of [`Config::sealing_secrets`].
    pub fn sealing_secret_for<'a>(&'a self, peer: &'a ConfiguredPeer) -> Option<&'a Secret> {
        peer.key.as_ref().or_else(|| self.sealing_secrets().first())
    }

    /// Returns the id of the host if the config has one: otherwise each start has another.
    pub fn configured_host_id(&self) -> Option<&str> {
        (!self.has_default_host_id).then_some(&*self.host_id)
    }

    /// Returns true if the plugin directory is `plugins` beside the config file, which may be missing.
    pub fn has_default_plugin_dir(&self) -> bool {
        let file = std::path::absolute(&self.file).unwrap_or_default();
        file.parent().is_some_and(|folder| self.plugin_dir == folder.join("plugins"))
    }

    /// Returns the table `[plugins.NAME]` as JSON; an empty object if there is none.
    pub fn plugin_settings(&self, plugin: &str) -> Value {
        self.plugin_settings.get(plugin).map_or_else(|| json!({}), |settings| settings.table.clone())
    }

    /// Returns the origins of the values of that table, as `config_origins` of the ABI has them.
    pub fn plugin_origins(&self, plugin: &str) -> Value {
        self.plugin_settings.get(plugin).map_or_else(|| json!([]), |settings| settings.origins.clone())
    }
}

/// Helpers of the tests of this module.
#[cfg(test)]
mod testing {
    use std::path::Path;

    use super::{Config, ConfigError, Environment, Overrides};

    /// Loads a text as `config.toml`.
    pub(super) fn load(
        text: &str,
        environment: &Environment,
        overrides: &Overrides,
    ) -> Result<Config, ConfigError> {
        Config::from_text(text, Path::new("config.toml"), environment, overrides)
    }

    /// Loads a text that is right, without variables and flags.
    pub(super) fn config(text: &str) -> Config {
        load(text, &Environment::default(), &Overrides::default()).unwrap()
    }

    /// Returns the problems of a text.
    pub(super) fn problems(text: &str) -> String {
        problems_of(text, &Environment::default(), &Overrides::default())
    }

    /// As [`problems`], with variables and flags.
    pub(super) fn problems_of(text: &str, environment: &Environment, overrides: &Overrides) -> String {
        load(text, environment, overrides).err().map(|error| error.to_string()).unwrap_or_default()
    }
}
