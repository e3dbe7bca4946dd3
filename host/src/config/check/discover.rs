//! Checks `plugins.proxy.proxy_urls."URL".discover`.

use super::validator::Validator;
use crate::config::Discover;
use crate::config::key::{KeyPath, redact};

impl Validator<'_> {
    /// Checks the discovery at `key`. `is_address` says that the URL has an address instead of a name.
    pub(super) fn discover(&mut self, key: &KeyPath, raw: Option<&str>, is_address: bool) -> Discover {
        let discover = match raw.unwrap_or("static") {
            "static" => Discover::Static,
            "dns" => Discover::Dns,
            "srv" => Discover::Srv,
            other => match other.strip_prefix("file:").filter(|path| !path.is_empty()) {
                Some(path) => Discover::File(self.folder.join(path)),
                None => {
                    let text =
                        format!("`{key}` must be static, dns, srv or file:PATH, found `{}`", redact(other));
                    self.problem(key, text);
                    Discover::Static
                }
            },
        };
        if is_address && matches!(discover, Discover::Dns | Discover::Srv) {
            self.problem(
                key,
                format!("`{key}` is {}, but the URL has an address instead of a name", discover.text()),
            );
        }
        discover
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{config, problems};

    fn peer(entry: &str) -> String {
        format!("[plugins.proxy.proxy_urls]\n{entry}\n")
    }

    #[test]
    fn every_way_of_finding_peers_is_read() {
        let discover = |raw: &str| {
            config(&peer(&format!("\"http://b.test\" = {{ {raw} }}"))).proxy.peers[0].discover.clone()
        };
        assert_eq!(discover(""), Discover::Static);
        assert_eq!(discover("discover = \"static\""), Discover::Static);
        assert_eq!(discover("discover = \"dns\""), Discover::Dns);
        assert_eq!(discover("discover = \"srv\""), Discover::Srv);
        let file = std::env::current_dir().unwrap().join("peers.json");
        assert_eq!(discover("discover = \"file:peers.json\""), Discover::File(file));
        let servers =
            "plugins.proxy.dns_servers = [\"10.0.0.10\", \"127.0.0.1:8600\", \"::1\", \"[::1]:8600\"]";
        let servers: Vec<String> =
            config(servers).proxy.dns_servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.10:53", "127.0.0.1:8600", "[::1]:53", "[::1]:8600"]);
    }

    #[test]
    fn what_cannot_be_found_is_refused() {
        for (raw, found) in [("nds", "nds"), ("file:", "file:"), ("", "")] {
            assert_eq!(
                problems(&peer(&format!("\"http://b.test\" = {{ discover = {raw:?} }}"))),
                format!(
                    "config.toml line 2: `plugins.proxy.proxy_urls.\"http://b.test\".discover` must be static, dns, srv \
                     or file:PATH, found `{found}`"
                )
            );
        }
        assert_eq!(
            problems(&peer("\"http://10.0.0.1\" = { discover = \"dns\" }")),
            "config.toml line 2: `plugins.proxy.proxy_urls.\"http://10.0.0.1\".discover` is dns, but the URL has an \
             address instead of a name"
        );
        assert_eq!(
            problems("plugins.proxy.dns_servers = [\"dns.test\"]"),
            "config.toml line 1: `plugins.proxy.dns_servers` has `dns.test`, which is not an address, as in 10.0.0.10 or \
             127.0.0.1:8600"
        );
    }
}
