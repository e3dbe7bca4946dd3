//! Checks the raw document: every value, with every problem.

use crate::base::{HostId, PLUGIN_NAME_BYTES_MAX, is_plugin_name};

mod admin;
mod callers;
mod outbound;
mod plugins;
mod proxy;
mod tls;
mod trust;
mod validator;

use crate::config::key::{KeyPath, redact};
use crate::config::keys::{RawAuth, RawConfig};
use crate::config::values::BROKEN_KEY;
use callers::CallerKeys;

pub use tls::why_distrusted;
pub(super) use trust::trust;
pub(super) use validator::Validator;

use super::{AuthRules, Callers, Config, LocalEndpoints, Secret};
use crate::api::REMOTE_PATH;

const HOST_ID_BYTES_MAX: usize = 64;
/// The end of a default host id, after the name of the machine: `-` and 8 digits.
const HOST_ID_RANDOM_BYTES: usize = 9;

/// Checks everything.
pub(super) fn config(validator: &mut Validator<'_>, mut raw: RawConfig) -> Config {
    raw.fill_in();
    let server = raw.server.check(validator);
    let (proxy, proxy_auth) = proxy::proxy(validator, raw.plugins.proxy);
    let state_dir = validator.path("state_dir", "a folder", raw.state_dir.as_deref().unwrap_or("state"));
    let has_client_ca = raw.server.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let (auth, callers, caller_keys) = validator.auth(raw.auth, has_client_ca);
    let config = Config {
        file: validator.sources.file.clone(),
        has_default_host_id: raw.host_id.is_none(),
        host_id: validator.host_id(raw.host_id),
        plugin_dir: validator.path("plugin_dir", "a folder", raw.plugin_dir.as_deref().unwrap_or("plugins")),
        admin_tcp: validator.admin_tcp(&raw.admin),
        admin_socket: validator.admin_socket(raw.admin.socket.as_deref(), &state_dir),
        state_dir,
        load_plugins: raw.load_plugins.map(|names| validator.plugin_names(names)),
        server,
        server_tls: validator.server_tls(raw.server.tls),
        proxy,
        limits: validator.call_limits(raw.limits),
        reload: raw.reload.check(validator),
        trust: trust(validator, raw.trust),
        log: raw.log.check(validator),
        plugin_settings: validator.plugin_settings(raw.plugins.others),
        auth,
        callers,
        proxy_auth,
        stray_variables: validator.sources.stray_variables.clone(),
        literal_secrets: std::mem::take(&mut validator.literals),
        readable_by_others: false,
        has_text: false,
    };
    validator.cross_checks(&config, &caller_keys);
    config
}

/// Checks only the keys that say where the host listens.
pub(super) fn local_endpoints(validator: &mut Validator<'_>, raw: RawConfig) -> LocalEndpoints {
    let state_dir = validator.path("state_dir", "a folder", raw.state_dir.as_deref().unwrap_or("state"));
    LocalEndpoints {
        listen: raw.server.check(validator).listen(),
        tls: raw.server.tls.is_some(),
        admin_socket: validator.admin_socket(raw.admin.socket.as_deref(), &state_dir),
    }
}

impl Validator<'_> {
    /// Checks `[auth]`; one of its keys is enough.
    fn auth(
        &mut self,
        raw: Option<RawAuth>,
        has_client_ca: bool,
    ) -> (Option<AuthRules>, Callers, CallerKeys) {
        let Some(raw) = raw else { return Default::default() };
        if raw.rules.is_none() && raw.callers.is_none() {
            self.problem(&KeyPath::of("auth"), "needs the key `rules` or `callers`");
        }
        let rules = raw.rules.map(|rules| self.rules(&KeyPath::of("auth.rules"), &rules));
        let (callers, known_keys) =
            raw.callers.map(|callers| self.callers(callers, has_client_ca)).unwrap_or_default();
        (rules, callers, known_keys)
    }

    /// Checks values that are right alone, and cannot be together.
    fn cross_checks(&mut self, config: &Config, caller_keys: &CallerKeys) {
        // Hosts may call everything, and a frame shows nothing but the key: a caller's must not be theirs.
        for (entry, _) in caller_keys.iter().filter(|(_, key)| config.sealing_secrets().contains(key)) {
            let fault = format!("is also a key of the rule for `{REMOTE_PATH}`");
            self.problem(entry, format!("{fault}, with which a host may call everything"));
        }
        let server = config.server.listen();
        let is_same = |listen| listen == server && server.port() != 0;
        if config.admin_tcp.as_ref().is_some_and(|tcp| is_same(tcp.listen)) {
            let fault =
                format!("{server} is where the host listens for calls (`server.host` and `server.port`)");
            self.problem(&KeyPath::of("admin.listen"), fault);
        }
        if config.sealing_secrets().iter().any(Secret::is_broken_key) {
            let of_proxy = config.proxy_auth.keys_for(REMOTE_PATH).is_some();
            let key = KeyPath::of(if of_proxy { "plugins.proxy.auth.rules" } else { "auth.rules" });
            self.problem(&key, format!("has a key for `{REMOTE_PATH}` that {BROKEN_KEY}"));
        }
    }

    fn host_id(&mut self, raw: Option<String>) -> HostId {
        let raw = raw.and_then(|raw| self.host_id_at(&KeyPath::of("host_id"), &raw));
        raw.unwrap_or_else(|| default_host_id(&rustix::system::uname().nodename().to_string_lossy()))
    }

    /// Checks the id of a host.
    pub(super) fn host_id_at(&mut self, key: &KeyPath, raw: &str) -> Option<HostId> {
        let is_valid =
            (1..=HOST_ID_BYTES_MAX).contains(&raw.len()) && raw.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid {
            let needed = format!("1 to {HOST_ID_BYTES_MAX} printable ASCII characters without spaces");
            self.unfit(key, &needed, raw);
        }
        is_valid.then(|| raw.into())
    }

    pub(super) fn plugin_name(&mut self, key: &KeyPath, table: &KeyPath, name: &str) {
        if !is_plugin_name(name) {
            let fault = format!(
                "must name plugins in 1 to {PLUGIN_NAME_BYTES_MAX} characters of a-z 0-9 _ - and not `proxy`, found \
                 `{}`",
                redact(name)
            );
            self.problem_in(table, key, fault);
        }
    }

    fn plugin_names(&mut self, names: Vec<String>) -> Vec<String> {
        let key = KeyPath::of("load_plugins");
        for (index, name) in names.iter().enumerate() {
            self.plugin_name(&key.element(index), &key, name);
            if names[..index].contains(name) {
                self.problem_in(&key, &key.element(index), format!("has `{}` twice", redact(name)));
            }
        }
        names
    }
}

/// Returns the name of the machine with a random part: two hosts on one machine differ.
fn default_host_id(machine: &str) -> HostId {
    let clean = |character: char| {
        if character.is_ascii_graphic() { character } else { '-' }
    };
    let name: String = machine.chars().map(clean).take(HOST_ID_BYTES_MAX - HOST_ID_RANDOM_BYTES).collect();
    let name = if name.is_empty() { "host" } else { &name };
    format!("{name}-{:08x}", rand::random::<u32>()).into()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::testing::{config, problems};
    use crate::config::{Environment, Log, LogFormat, LogLevel, Networks, Probe, Reload, Server, Unmap};

    fn check(text: &str, expected: &str) {
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        let config = config("");
        let folder = std::env::current_dir().unwrap();
        assert_eq!(config.plugin_dir, folder.join("plugins"));
        assert_eq!(config.state_dir, folder.join("state"));
        assert_eq!(config.load_plugins, None);
        let server = Server {
            names: Vec::new(),
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            body_bytes_max: 4_194_304,
            answer_bytes_max: 67_108_864,
            body_memory_max: 268_435_456,
            connections_max: 1024,
            connections_per_address_max: 512,
            proxies: Networks::default(),
            in_flight_max: 1024,
            in_flight_per_function_max: 768,
            queue_max: 1024,
            header_bytes_max: 65_536,
            nesting_max: 64,
            expansion_max: 255,
            idempotency_keep: Duration::from_secs(600),
            idempotency_bytes_max: 67_108_864,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(30),
            layer_percent: 25,
            shutdown_delay: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(30),
        };
        assert_eq!(config.server, server);
        let reload = Reload {
            start_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            keep_generations: 3,
            watch: false,
            zombies_max: 16,
            probe: Probe::Load,
            unmap: Unmap::Safe,
        };
        assert_eq!(config.admin_socket, folder.join("state/admin.sock"));
        assert_eq!(config.reload, reload);
        assert_eq!(config.log, Log { level: LogLevel::Info, format: LogFormat::Text });
        assert!(config.listener_rules().is_empty() && config.sealing_secrets().is_empty());
        assert_eq!(config.plugin_settings("demo"), serde_json::json!({}));
    }

    #[test]
    fn default_host_ids_are_valid_and_differ() {
        for machine in ["host-b", "", "büro pc", &"x".repeat(300)] {
            let (one, two) = (default_host_id(machine), default_host_id(machine));
            assert_ne!(one, two);
            check(&format!("host_id = \"{one}\"\n"), "");
        }
        assert!(default_host_id("büro pc").starts_with("b-ro-pc-"));
    }

    #[test]
    fn host_ids_are_checked() {
        let rule = "must be 1 to 64 printable ASCII characters without spaces";
        for bad in ["", "a b", "ä", &"x".repeat(65)] {
            let expected = format!("config.toml line 1: `host_id` {rule}, found `{bad}`");
            check(&format!("host_id = \"{bad}\"\n"), &expected);
        }
        check(&format!("host_id = \"{}\"\n", "x".repeat(64)), "");
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let environment = Environment::default();
        let text = "plugin_dir = \"a/b\"\nstate_dir = \"/c\"\n";
        let file = Path::new("/etc/framex/config.toml");
        let config =
            Config::from_text(text, file, &environment, &crate::config::Overrides::default()).unwrap();
        assert_eq!(config.plugin_dir, Path::new("/etc/framex/a/b"));
        assert_eq!(config.state_dir, Path::new("/c"));
        check("state_dir = \"\"\n", "config.toml line 1: `state_dir` must be the path of a folder, found ``");
    }

    #[test]
    fn listeners_are_addresses() {
        let listen = |host: &str| config(&format!("[server]\nhost = \"{host}\"\nport = 0\n")).server;
        for (host, listened, loopback) in [
            ("localhost", "127.0.0.1:0", true),
            ("127.8.0.1", "127.8.0.1:0", true),
            ("::1", "[::1]:0", true),
            ("[::1]", "[::1]:0", true),
            ("::ffff:127.0.0.1", "[::ffff:127.0.0.1]:0", true),
            ("0.0.0.0", "0.0.0.0:0", false),
            ("::", "[::]:0", false),
            ("10.0.0.1", "10.0.0.1:0", false),
        ] {
            let server = listen(host);
            assert_eq!((server.listen().to_string().as_str(), server.is_loopback()), (listened, loopback));
        }
        check(
            "[server]\nhost = \"my-host\"\n",
            "config.toml line 2: `server.host` must be an IP address or localhost, found `my-host`",
        );
    }

    #[test]
    fn plugin_names_are_checked() {
        let rule = "must name plugins in 1 to 63 characters of a-z 0-9 _ - and not `proxy`";
        check("load_plugins = [\"a-b_1\"]\n", "");
        check(
            "load_plugins = [\"Demo\"]\n",
            &format!("config.toml line 1: `load_plugins` {rule}, found `Demo`"),
        );
        check(
            "load_plugins = [\"proxy\"]\n",
            &format!("config.toml line 1: `load_plugins` {rule}, found `proxy`"),
        );
        check("load_plugins = [\"a\", \"a\"]\n", "config.toml line 1: `load_plugins` has `a` twice");
        check("[plugins.\"a.b\"]\n", &format!("config.toml line 1: `plugins` {rule}, found `a.b`"));
    }

    #[test]
    fn listeners_are_in_different_places() {
        let both = |server: &str, admin: &str| {
            format!("server = {{ {server} }}\n[admin]\nlisten = \"{admin}\"\ntoken = \"0123456789abcdef\"\n")
        };
        check(&both("port = 0", "127.0.0.1:0"), "");
        check(&both("port = 8080", "127.0.0.1:8081"), "");
        check(&both("host = \"127.0.0.2\"", "127.0.0.1:8080"), "");
        let expected = "config.toml line 3: `admin.listen` 127.0.0.1:8080 is where the host listens for calls \
                        (`server.host` and `server.port`)";
        check(&both("", "127.0.0.1:8080"), expected);
    }
}
