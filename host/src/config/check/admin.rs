//! Checks `[admin]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::validator::Validator;
use crate::config::key::KeyPath;
use crate::config::keys::RawAdmin;
use crate::config::{AdminTcp, Secret};

/// Shortest token in bytes: a client that reaches the listener can try any number of tokens.
const TOKEN_BYTES_MIN: usize = 16;

impl Validator<'_> {
    pub(super) fn admin_socket(&mut self, raw: Option<&str>, state_dir: &Path) -> PathBuf {
        raw.map_or_else(|| state_dir.join("admin.sock"), |raw| self.path("admin.socket", "a socket", raw))
    }

    /// Checks the listener and its token: both, or neither.
    pub(super) fn admin_tcp(&mut self, raw: &RawAdmin) -> Option<AdminTcp> {
        let [listen_key, token_key] = ["admin.listen", "admin.token"].map(KeyPath::of);
        let listen = raw.listen.as_deref().map(|raw| self.admin_listen(&listen_key, raw));
        let token = raw.token.as_deref().map(|raw| self.admin_token(&token_key, raw));
        match (listen, token) {
            (Some(listen), Some(token)) => return Some(AdminTcp { listen: listen?, token: token? }),
            (Some(_), None) => self.problem(
                &listen_key,
                "needs `admin.token`, the secret that every request must carry: `framex-host keygen` makes one",
            ),
            (None, Some(_)) => self.problem(
                &token_key,
                "needs `admin.listen`, the address of the listener that it opens, as in `127.0.0.1:9090`: the unix \
                 socket takes no token",
            ),
            (None, None) => {}
        }
        None
    }

    fn admin_listen(&mut self, key: &KeyPath, raw: &str) -> Option<SocketAddr> {
        let needed = "an IP address and a port, as in `127.0.0.1:9090` or `[::1]:9090`";
        raw.parse().map_err(|_| self.unfit(key, needed, raw)).ok()
    }

    fn admin_token(&mut self, key: &KeyPath, raw: &str) -> Option<Secret> {
        let token = self.secret(key, raw)?;
        let text = token.expose();
        if text.len() < TOKEN_BYTES_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let needed = format!("at least {TOKEN_BYTES_MIN} printable ASCII characters without spaces");
            self.problem(key, format!("must be {needed}: `framex-host keygen` makes one"));
            return None;
        }
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::testing::{config, load, problems};
    use crate::config::{Config, Environment, Overrides};

    const TOKEN: &str = "canary-canary-16";

    fn check(text: &str, expected: &str) {
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn a_listener_and_its_token_come_together() {
        assert!(config("").admin_tcp.is_none());
        for (listen, loopback) in [
            ("127.0.0.1:9090", true),
            ("127.0.0.1:0", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:9090", false),
            ("[::]:9090", false),
        ] {
            let tcp =
                config(&format!("[admin]\nlisten = \"{listen}\"\ntoken = \"{TOKEN}\"\n")).admin_tcp.unwrap();
            assert_eq!((tcp.listen.to_string().as_str(), tcp.is_loopback()), (listen, loopback));
            assert_eq!(tcp.token.expose(), TOKEN);
        }
        check(
            "[admin]\nlisten = \"127.0.0.1:9090\"\n",
            "config.toml line 2: `admin.listen` needs `admin.token`, the secret that every request must carry: \
             `framex-host keygen` makes one",
        );
        check(
            &format!("[admin]\ntoken = \"{TOKEN}\"\n"),
            "config.toml line 2: `admin.token` needs `admin.listen`, the address of the listener that it opens, as \
             in `127.0.0.1:9090`: the unix socket takes no token",
        );
    }

    #[test]
    fn listeners_are_addresses_with_a_port() {
        for wrong in ["localhost:9090", "127.0.0.1", "9090", "", "::1:9090x", "127.0.0.1:70000"] {
            check(
                &format!("[admin]\ntoken = \"{TOKEN}\"\nlisten = \"{wrong}\"\n"),
                &format!(
                    "config.toml line 3: `admin.listen` must be an IP address and a port, as in `127.0.0.1:9090` or \
                     `[::1]:9090`, found `{wrong}`"
                ),
            );
        }
    }

    #[test]
    fn tokens_that_are_short_or_that_no_header_carries_are_refused_and_not_shown() {
        let rule = "`admin.token` must be at least 16 printable ASCII characters without spaces: `framex-host keygen` \
                    makes one";
        for wrong in ["canary-canary-1", "canary canary 16 ", "canary-canary-16ä"] {
            check(
                &format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{wrong}\"\n"),
                &format!("config.toml line 3: {rule}"),
            );
        }
        check(
            "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"env:NOT_SET\"\n",
            "config.toml line 3: `admin.token` has its secret in variable `NOT_SET`, which is not set",
        );
        check("[admin]\ntoken = 4711\n", "config.toml line 2: `admin.token` must be text, found a number");
        check("admin = \"canary\"\n", "config.toml line 1: `admin` must be a table, found a text");
        check("[admin]\nlisten = 9090\n", "config.toml line 2: `admin.listen` must be text, found 9090");
    }

    #[test]
    fn the_token_may_come_from_a_variable_of_the_hosts_own() {
        let text = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"env:FRAMEX_ADMIN_TOKEN\"\n";
        let environment = [("FRAMEX_ADMIN_TOKEN", TOKEN)].into_iter().collect();
        let config = load(text, &environment, &Overrides::default()).unwrap();
        assert_eq!(config.admin_tcp.unwrap().token.expose(), TOKEN);
    }

    #[test]
    fn the_file_of_a_token_is_a_file_of_the_config() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("token"), TOKEN).unwrap();
        let text = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"file:token\"\n";
        let file = scratch.path().join("config.toml");
        let config = Config::from_text(text, &file, &Environment::default(), &Overrides::default()).unwrap();
        assert_eq!(config.files(), [file, scratch.path().join("token")]);
    }

    #[test]
    fn endpoints_need_no_secret() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("config.toml");
        let endpoints = |text: &str, environment: &[(&str, &str)]| {
            std::fs::write(&file, text).unwrap();
            let environment = environment.iter().copied().collect();
            Config::local_endpoints(&file, &environment).map_err(|error| error.to_string())
        };
        let secrets = "auth.rules = { \"/a\" = [\"env:NOT_SET\", \"file:not.there\"] }\n\
                       admin.listen = \"127.0.0.1:0\"\nadmin.token = \"env:NOT_SET\"\n";
        let found = endpoints(secrets, &[]).unwrap();
        assert_eq!(found.admin_socket, scratch.path().join("state/admin.sock"));
        assert_eq!(found.listen, "127.0.0.1:8080".parse().unwrap());
        let found = endpoints(&format!("state_dir = \"other\"\n{secrets}"), &[]).unwrap();
        assert_eq!(found.admin_socket, scratch.path().join("other/admin.sock"));
        let variables = [("FRAMEX_ADMIN__SOCKET", "/run/x.sock"), ("FRAMEX_SERVER__PORT", "9000")];
        let found = endpoints(&format!("admin.socket = \"file.sock\"\n{secrets}"), &variables).unwrap();
        assert_eq!(found.admin_socket, Path::new("/run/x.sock"));
        assert_eq!(found.listen, "127.0.0.1:9000".parse().unwrap());
        let wrong = endpoints("admin.socket = \"\"\n", &[]).unwrap_err();
        assert!(wrong.ends_with("line 1: `admin.socket` must be the path of a socket, found ``"), "{wrong}");
        let unknown = endpoints("admin.sockte = \"\"\n", &[]).unwrap_err();
        assert!(unknown.contains("the nearest known key is `admin.socket`"), "{unknown}");
    }
}
