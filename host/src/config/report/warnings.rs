//! The warnings of `check`: values that are allowed, but are probably not intended.

use std::collections::BTreeSet;

mod access;

use crate::api::REMOTE_PATH;
use crate::base::nearest;
use crate::config::{COMMAND_LINE_VARIABLES, Config, Secret, ValueOrigin};

impl Config {
    /// Returns warnings about values that are probably not intended, in one sentence each, without secrets.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        self.warn_of_access(&mut warnings);
        if let Some(tcp) = self.admin_tcp.as_ref().filter(|tcp| !tcp.is_loopback()) {
            warnings.push(format!(
                "`admin.listen` {} can be reached from other machines, and is not encrypted: a host on the way can read the token",
                tcp.listen
            ));
        }
        let (body, memory) = (self.server.body_bytes_max, self.server.body_memory_max);
        if body > memory {
            warnings.push(format!(
                "`server.body_memory_max` {memory}, which all bodies together may take, is less than \
                 `server.body_bytes_max` {body}: a larger body is always refused as `overloaded`"
            ));
        }
        self.warn_of_keys(&mut warnings);
        if let Some((tls, fault)) = self.server_tls.as_ref().and_then(|tls| Some((tls, tls.fault.as_ref()?)))
        {
            warnings.push(format!("`server.tls.cert` is {}, whose certificate {fault}", tls.cert.display()));
        }
        self.warn_of_rules(&mut warnings);
        self.warn_of_paths(&mut warnings);
        self.warn_of_variables(&mut warnings);
        self.warn_of_callers(&mut warnings);
        self.warn_of_catalogues(&mut warnings);
        if let Some(loaded) = &self.load_plugins {
            let idle = self.plugin_settings.keys().filter(|name| !loaded.contains(name));
            let sentence =
                |name| format!("`plugins.{name}` is for a plugin that `load_plugins` does not name");
            warnings.extend(idle.map(sentence));
        }
        warnings
    }

    fn warn_of_keys(&self, warnings: &mut Vec<String>) {
        if self.readable_by_others {
            let file = self.file.display();
            warnings.extend(self.literal_secrets.iter().map(|key| {
                format!(
                    "`{key}` is written out in {file}, which every user of this machine can read: use env:NAME \
                     or file:PATH, or chmod o-r"
                )
            }));
        }
        let of_server = self.server_tls.as_ref().and_then(|tls| tls.open_key());
        let of_peers = self.proxy.tls.as_ref().and_then(|tls| tls.open_key());
        for (key, file) in [("server.tls.key", of_server), ("plugins.proxy.tls.key", of_peers)] {
            warnings.extend(file.map(|file| {
                format!("`{key}` is {}, which every user of this machine can read: chmod o-r", file.display())
            }));
        }
        self.warn_of_open_files(warnings);
        let mut check = |secret: &Secret, place: &str| {
            if !secret.is_generated_key() {
                warnings.push(format!(
                    "a key of {place} is a passphrase, which can be guessed: `framex-host keygen` makes a better one"
                ));
            } else if secret.is_public_key() {
                warnings.push(format!(
                    "a key of {place} is the public one of hosts that have none, and protects nothing: make one with \
                     `framex-host keygen`"
                ));
            }
        };
        for secret in self.sealing_secrets() {
            check(secret, &format!("the rule for `{REMOTE_PATH}`"));
        }
        for caller in self.callers.iter() {
            let place = format!("`auth.callers.{}`", caller.caller.name);
            caller.keys.iter().filter(|key| key.is_public_key()).for_each(|key| check(key, &place));
        }
        for peer in &self.proxy.peers {
            if let Some(secret) = &peer.key {
                check(secret, &format!("`plugins.proxy.proxy_urls.\"{}\"`", peer.url));
            }
        }
        // Calls to hosts of this machine are sealed with the public key.
        let elsewhere = self.proxy.peers.iter().filter(|peer| !peer.is_on_this_machine());
        for peer in elsewhere.filter(|peer| self.sealing_secret_for(peer).is_none()) {
            warnings.push(format!(
                "calls to `{}` cannot be sealed: `plugins.proxy.auth.rules` has no key for `{REMOTE_PATH}`",
                peer.url
            ));
        }
    }

    /// Warns of each file once, by the first key that names it.
    fn warn_of_open_files(&self, warnings: &mut Vec<String>) {
        let mut named = BTreeSet::new();
        for (key, secret) in self.secrets() {
            if let Some(file) = secret.open_file().filter(|file| named.insert(file.to_path_buf())) {
                warnings.push(format!(
                    "`{key}` is in file {}, which every user of this machine can read: chmod o-r",
                    file.display()
                ));
            }
        }
    }

    /// Warns of variables with the prefix that resemble no key: a container image may have some of its own.
    fn warn_of_variables(&self, warnings: &mut Vec<String>) {
        for name in &self.stray_variables {
            let nearest = nearest(name, COMMAND_LINE_VARIABLES, 1);
            let nearest = nearest.first().filter(|known| strsim::osa_distance(name, known) <= 2);
            let nearest = nearest.map_or_else(String::new, |known| format!("; the nearest is {known}"));
            warnings.push(format!(
                "{} resembles no key of the config, and is ignored{nearest}",
                ValueOrigin::Variable(name.clone())
            ));
        }
    }

    /// With `[auth]`, the other rules protect no paths.
    fn warn_of_rules(&self, warnings: &mut Vec<String>) {
        for (pattern, _) in self.listener_rules().iter().filter(|(pattern, _)| !pattern.covers_something()) {
            warnings.push(format!("the rule for `{pattern}` protects nothing: this host has no such path"));
        }
        let Some(auth) = &self.auth else { return };
        for (pattern, _) in self.proxy_auth.iter().filter(|(pattern, _)| !pattern.is_exactly(REMOTE_PATH)) {
            let text = pattern.to_string();
            if auth.keys_for(text.trim_end_matches('*')).is_none() {
                warnings.push(format!(
                    "`{text}` is open: `plugins.proxy.auth.rules` protects it only while there is no `[auth]`, and \
                     `auth.rules` does not name it"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::config;
    use crate::config::{Environment, Overrides};

    fn warned(text: &str, expected: &[&str]) {
        assert_eq!(config(text).warnings(), expected, "{text}");
    }

    #[test]
    fn doubtful_listeners_and_keys_are_warned_of() {
        let key = format!("fxk1_{}", "BA".repeat(21) + "A");
        let rules = |key: &str| {
            format!("[plugins.proxy.auth]\nrules = {{ \"/api/v1/proxy/remote\" = [\"{key}\"] }}\n")
        };
        let open = "[server]\nhost = \"0.0.0.0\"\n";
        warned("", &[]);
        warned(&rules(&key), &[]);
        let callable = "`server.host` 0.0.0.0 can be reached from other machines, and anyone there can call every \
                        function that no rule protects, without a key: set `auth` to limit calls";
        warned(&format!("{open}{}", rules(&key)), &[callable]);
        warned(
            open,
            &[
                "`/api/v1/proxy/remote` answers no host: `server.host` 0.0.0.0 can be reached from other machines, \
               and `plugins.proxy.auth.rules` has no key for that path",
                callable,
            ],
        );
        warned(
            &rules(crate::config::PUBLIC_KEY),
            &[
                "a key of the rule for `/api/v1/proxy/remote` is the public one of hosts that have none, and protects \
               nothing: make one with `framex-host keygen`",
            ],
        );
        warned(
            &rules("proxy-key"),
            &[
                "a key of the rule for `/api/v1/proxy/remote` is a passphrase, which can be guessed: `framex-host \
               keygen` makes a better one",
            ],
        );
        warned(
            &format!(
                "[plugins.proxy.proxy_urls]\n\"http://a\" = {{ key = \"{key}\" }}\n\"http://b\" = {{}}\n\"http://127.0.0.1:1\" = {{}}\n"
            ),
            &["calls to `http://b:80` cannot be sealed: `plugins.proxy.auth.rules` has no key for \
               `/api/v1/proxy/remote`"],
        );
        warned(
            "[plugins.proxy.proxy_urls]\n\"http://a\" = { key = \"k\" }\n",
            &["a key of `plugins.proxy.proxy_urls.\"http://a:80\"` is a passphrase, which can be guessed: \
               `framex-host keygen` makes a better one"],
        );
    }

    #[test]
    fn rules_that_cover_no_path_are_warned_of() {
        for (path, is_one) in [
            ("/*", true),
            ("/api/v1/*", true),
            ("/api/v1/functions/*", true),
            ("/api/v1/functions/demo.f", true),
            ("/health", true),
            ("/api/v1/function/*", false),
            ("/api/v1/functions/", false),
            ("/api/v1/functions/demo/*", false),
            ("/API/v1/*", false),
        ] {
            let warning = format!("the rule for `{path}` protects nothing: this host has no such path");
            let expected = if is_one { vec![] } else { vec![warning.as_str()] };
            let config = config(&format!("[auth]\nrules = {{ \"{path}\" = [\"0123456789abcdef\"] }}\n"));
            let mut warnings = config.warnings();
            warnings.retain(|warning| warning.contains("protects nothing"));
            assert_eq!(warnings, expected, "{path}");
        }
    }

    #[test]
    fn bodies_that_never_fit_into_the_memory_are_warned_of() {
        warned("server = { body_bytes_max = 2000000, body_memory_max = 2000000 }", &[]);
        warned(
            "server.body_memory_max = 2000000",
            &["`server.body_memory_max` 2000000, which all bodies together may take, is less than \
               `server.body_bytes_max` 4194304: a larger body is always refused as `overloaded`"],
        );
    }

    #[test]
    fn an_admin_listener_that_others_reach_is_warned_of() {
        let listen =
            |address: &str| format!("[admin]\nlisten = \"{address}\"\ntoken = \"0123456789abcdef\"\n");
        warned(&listen("127.0.0.1:9090"), &[]);
        warned(
            &listen("0.0.0.0:9090"),
            &[
                "`admin.listen` 0.0.0.0:9090 can be reached from other machines, and is not encrypted: a host on the \
               way can read the token",
            ],
        );
    }

    #[test]
    fn rules_and_tables_without_effect_are_warned_of() {
        const KEY: &str = "0123456789abcdef";
        let rules =
            format!("[plugins.proxy.auth]\nrules = {{ \"/ready\" = [{KEY:?}], \"/health\" = [{KEY:?}] }}\n");
        warned(&rules, &[]);
        warned(
            &format!("{rules}[auth]\nrules = {{ \"/health\" = [{KEY:?}] }}\n"),
            &[
                "`/ready` is open: `plugins.proxy.auth.rules` protects it only while there is no `[auth]`, and \
               `auth.rules` does not name it",
            ],
        );
        warned("[plugins.demo]\n", &[]);
        warned(
            "load_plugins = [\"a\"]\n[plugins.a]\n[plugins.demo]\n",
            &["`plugins.demo` is for a plugin that `load_plugins` does not name"],
        );
    }

    #[cfg(unix)]
    #[test]
    fn literals_that_everybody_can_read_are_warned_of() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let key = folder.path().join("key");
        std::fs::write(&key, "0123456789abcdef").unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
        let rules = "{ \"/ready\" = [\"file:key\", \"canary-of-16-bytes\"] }";
        std::fs::write(&file, format!("[auth]\nrules = {rules}\n")).unwrap();
        let warnings = |mode: u32, environment: &Environment| {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            Config::load_with(&file, environment, &Overrides::default()).unwrap().warnings()
        };
        assert!(warnings(0o640, &Environment::default()).is_empty());
        let expected = format!(
            "`auth.rules.\"/ready\"[1]` is written out in {}, which every user of this machine can read: use env:NAME \
             or file:PATH, or chmod o-r",
            file.display()
        );
        assert_eq!(warnings(0o644, &Environment::default()), [expected]);
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
        let expected = format!(
            "`auth.rules.\"/ready\"` is in file {}, which every user of this machine can read: chmod o-r",
            key.display()
        );
        assert_eq!(warnings(0o640, &Environment::default()), [expected]);
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        let variable = [("FRAMEX_AUTH__RULES", rules)].into_iter().collect();
        assert!(warnings(0o644, &variable).is_empty(), "what a variable says is not in the file");
    }
}
