//! Values that are right alone, and cannot be together.

use super::callers::CallerKeys;
use super::validator::Validator;
use crate::api::REMOTE_PATH;
use crate::config::Config;
use crate::config::key::KeyPath;

impl Validator<'_> {
    /// Hosts may call everything, and a frame shows nothing but the key: a caller's must not be theirs.
    pub(super) fn check_caller_keys(&mut self, known_keys: &CallerKeys, config: &Config) {
        for (entry, key) in known_keys {
            if config.sealing_secrets().contains(key) {
                let text = format!(
                    "`{entry}` is also a key of the rule for `{REMOTE_PATH}`, with which a host may call everything"
                );
                self.problem(entry, text);
            }
        }
    }

    /// Checks what only all of the config says.
    pub(super) fn cross_checks(&mut self, config: &Config) {
        let server = config.server.listen();
        let is_same = |listen| listen == server && server.port() != 0;
        if config.admin_tcp.as_ref().is_some_and(|tcp| is_same(tcp.listen)) {
            let text = format!(
                "`admin.listen` {} is where the host listens for calls (`server.host` and `server.port`)",
                server
            );
            self.problem(&KeyPath::of("admin.listen"), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::problems;

    fn check(text: &str, expected: &str) {
        assert_eq!(problems(text), expected);
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
