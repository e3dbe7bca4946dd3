//! Checks `[plugins.proxy]`: the peers, the paths that this host may call there, and the functions that run there.

use std::collections::BTreeMap;

use crate::base::{FunctionName, nearest};

use super::validator::Validator;
use crate::api::REMOTE_PATH;
use crate::config::key::{KeyPath, redact};
use crate::config::keys::number::{NumberRule, number};
use crate::config::keys::{RawPeer, RawPeers, RawProxy};
use crate::config::{AllowedAddresses, AuthRules, ConfiguredPeer, Discover, PathPatterns, PeerUrl, Proxy};

/// The priority and the weight of a peer: `plugins.proxy.proxy_urls."URL".priority`.
const PRIORITY: NumberRule = number(0, 0, 255);
const WEIGHT: NumberRule = number(1, 1, 1000);

/// Checks `[plugins.proxy]`, and returns its `auth.rules` apart.
pub(super) fn proxy(validator: &mut Validator<'_>, raw: RawProxy) -> (Proxy, AuthRules) {
    let mut proxy = raw.check(validator);
    let table = KeyPath::of("plugins.proxy");
    let white_list_key = table.child("white_list");
    proxy.white_list = raw.white_list.map(|list| validator.patterns(&white_list_key, &list));
    let peers = peers(validator, raw.proxy_urls, proxy.white_list.as_ref(), &proxy.allowed_addresses);
    for peer in peers.iter().filter(|peer| proxy.require_receiver && !peer.bind) {
        let key = table.child("proxy_urls").child(&peer.url.to_string()).child("bind");
        let fault = "= false contradicts `plugins.proxy.require_receiver`: remove one of them";
        validator.problem_in(&key, &table.child("require_receiver"), fault);
    }
    let has_https_peers = peers.iter().any(|peer| peer.url.is_https());
    proxy.functions = functions(validator, raw.proxy_functions, &peers);
    proxy.outbound = validator.outbound_proxies(peers.iter().map(|peer| &peer.url));
    proxy.tls = validator.peer_tls(raw.tls, has_https_peers);
    proxy.peers = peers;
    let rules = raw.auth.map(|auth| validator.rules(&KeyPath::of("plugins.proxy.auth.rules"), &auth.rules));
    (proxy, rules.unwrap_or_default())
}

/// Checks both forms of `proxy_urls`.
fn peers(
    validator: &mut Validator<'_>,
    raw: RawPeers,
    white_list: Option<&PathPatterns>,
    allowed_addresses: &AllowedAddresses,
) -> Vec<ConfiguredPeer> {
    let key = KeyPath::of("plugins.proxy.proxy_urls");
    let entries: Vec<(KeyPath, String, RawPeer)> = match raw {
        RawPeers::List(urls) => {
            let named = |(index, url): (usize, String)| (key.element(index), url, RawPeer::default());
            urls.into_iter().enumerate().map(named).collect()
        }
        RawPeers::Map(map) => validator.entries(&key, map),
    };
    let mut peers: Vec<ConfiguredPeer> = Vec::with_capacity(entries.len());
    for (entry, text, raw) in entries {
        let peer_key = raw.key.and_then(|raw| validator.sealing_secret(&entry.child("key"), &raw));
        let enable = raw.enable.unwrap_or_else(|| vec!["/*".to_owned()]);
        let enable = validator.patterns(&entry.child("enable"), &enable);
        let disable = validator.patterns(&entry.child("disable"), &raw.disable.unwrap_or_default());
        let priority = validator.number(&entry.child("priority"), &PRIORITY, raw.priority);
        let weight = validator.number(&entry.child("weight"), &WEIGHT, raw.weight);
        let Some(url) = url(validator, &key, &entry, &text) else {
            continue;
        };
        if peers.iter().any(|peer| peer.url == url) {
            validator.problem_in(&key, &entry, format!("has `{url}` twice"));
            continue;
        }
        if url.address().is_some_and(|address| !allowed_addresses.allows(address)) {
            let fault = format!(
                "has `{url}`, which is a link-local or metadata address: it is refused unless \
                 `plugins.proxy.allow_addresses` has it"
            );
            validator.problem_in(&key, &entry, fault);
        }
        let discover = discover(validator, &entry.child("discover"), raw.discover.as_deref(), &url);
        let host_id = raw.host_id.and_then(|raw| validator.host_id_at(&entry.child("host_id"), &raw));
        let bind = raw.bind.unwrap_or(true);
        if host_id.is_some() && !bind {
            let fault = "= false contradicts `host_id`: frames must name the host that `host_id` pins";
            validator.problem(&entry.child("bind"), fault);
        }
        peers.push(ConfiguredPeer {
            url,
            discover,
            host_id,
            bind,
            key: peer_key,
            priority: u8::try_from(priority).unwrap_or_default(),
            weight: u16::try_from(weight).unwrap_or(1),
            enable,
            disable,
            white_list: white_list.cloned(),
        });
    }
    peers
}

/// Checks one URL at `entry` in `key`.
fn url(validator: &mut Validator<'_>, key: &KeyPath, entry: &KeyPath, text: &str) -> Option<PeerUrl> {
    let parsed = PeerUrl::new(text);
    parsed.map_err(|why| validator.problem_in(key, entry, format!("has `{}`: {why}", redact(text)))).ok()
}

/// Checks the discovery of the peers behind `url`.
fn discover(validator: &mut Validator<'_>, key: &KeyPath, raw: Option<&str>, url: &PeerUrl) -> Discover {
    let discover = match raw.unwrap_or("static") {
        "static" => Discover::Static,
        "dns" => Discover::Dns,
        "srv" => Discover::Srv,
        other => match other.strip_prefix("file:").filter(|path| !path.is_empty()) {
            Some(path) => Discover::File(validator.folder.join(path)),
            None => {
                validator.unfit(key, "static, dns, srv or file:PATH", other);
                Discover::Static
            }
        },
    };
    if url.address().is_some() && matches!(discover, Discover::Dns | Discover::Srv) {
        let fault = format!("is {}, but the URL has an address instead of a name", discover.text());
        validator.problem(key, fault);
    }
    discover
}

fn functions(
    validator: &mut Validator<'_>,
    raw: BTreeMap<String, Vec<String>>,
    peers: &[ConfiguredPeer],
) -> BTreeMap<FunctionName, Vec<PeerUrl>> {
    let key = KeyPath::of("plugins.proxy.proxy_functions");
    let mut functions: BTreeMap<FunctionName, Vec<PeerUrl>> = BTreeMap::new();
    for (entry, text, names) in validator.entries(&key, raw) {
        let Some(url) = url(validator, &key, &entry, &text) else {
            continue;
        };
        let Some(peer) = peers.iter().find(|peer| peer.url == url) else {
            validator.problem_in(&key, &entry, unlisted(&url, peers));
            continue;
        };
        // Such a function could never be called.
        if !names.is_empty() && !peer.allows(REMOTE_PATH) {
            let fault = format!(
                "has functions for `{url}`, where `white_list`, `enable` and `disable` do not allow `{REMOTE_PATH}`"
            );
            validator.problem_in(&key, &entry, fault);
        }
        for (index, name) in names.iter().enumerate() {
            match FunctionName::new(name) {
                Ok(name) => {
                    let urls = functions.entry(name).or_default();
                    if !urls.contains(&url) {
                        urls.push(url.clone());
                    }
                }
                Err(why) => {
                    let fault = format!("has `{}` for `{url}`: {why}", redact(name));
                    validator.problem_in(&key, &entry.element(index), fault);
                }
            }
        }
    }
    functions
}

fn unlisted(url: &PeerUrl, peers: &[ConfiguredPeer]) -> String {
    let known: Vec<String> = peers.iter().map(|peer| peer.url.to_string()).collect();
    let wanted = url.to_string();
    let nearest = nearest(&wanted, known.iter().map(String::as_str), 1);
    let nearest = nearest.first().map_or_else(String::new, |url| format!(", the nearest there is `{url}`"));
    format!("has `{url}`, which is not in `plugins.proxy.proxy_urls`{nearest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{config, problems};
    use crate::config::{Fallback, FrameCompression, Secret};

    const BOTH: &str = "proxy_urls = [\"http://b:1\", \"http://a:1\"]\n";

    fn check(proxy: &str, expected: &str) {
        assert_eq!(problems(&format!("[plugins.proxy]\n{proxy}")), expected);
    }

    fn proxy_of(proxy: &str) -> Proxy {
        config(&format!("[plugins.proxy]\n{proxy}")).proxy
    }

    #[test]
    fn both_forms_of_proxy_urls_keep_the_order_of_the_file() {
        let map = "[plugins.proxy.proxy_urls]\n\"http://b:1\" = { disable = [\"/api/v1/functions/*\"], key = \"k\" }\n\
                   \"http://a:1\" = { enable = [\"/api/*\"] }\n";
        for text in [BOTH, map] {
            let urls: Vec<String> = proxy_of(text).peers.iter().map(|peer| peer.url.to_string()).collect();
            assert_eq!(urls, ["http://b:1", "http://a:1"]);
        }
        let peers = proxy_of(map).peers;
        assert_eq!(peers[0].key.as_ref().map(Secret::expose), Some("k"));
        assert!(peers[0].allows("/health") && !peers[0].allows("/api/v1/functions/x"));
        assert!(peers[1].key.is_none() && peers[1].allows("/api/v1") && !peers[1].allows("/health"));
    }

    #[test]
    fn the_white_list_limits_every_peer() {
        let proxy = proxy_of(&format!("{BOTH}white_list = [\"/api/v1/proxy/remote\"]\n"));
        assert!(proxy.peers.iter().all(|peer| peer.allows(REMOTE_PATH) && !peer.allows("/health")));
        let proxy = proxy_of(&format!("{BOTH}white_list = []\n"));
        assert!(proxy.peers.iter().all(|peer| !peer.allows(REMOTE_PATH)));
    }

    #[test]
    fn a_function_on_several_peers_keeps_their_order() {
        let text = format!(
            "{BOTH}[plugins.proxy.proxy_functions]\n\"http://b:1/\" = [\"x.f\", \"x.f\"]\n\"HTTP://a:1\" = [\"x.g\", \"x.f\"]\n"
        );
        let proxy = proxy_of(&text);
        let urls = |name: &str| {
            let name = FunctionName::new(name).unwrap();
            proxy.urls_of(&name).iter().map(PeerUrl::to_string).collect::<Vec<_>>()
        };
        assert_eq!(urls("x.f"), ["http://b:1", "http://a:1"]);
        assert_eq!(urls("x.g"), ["http://a:1"]);
        assert!(urls("x.h").is_empty());
    }

    #[test]
    fn words_are_read() {
        let proxy = proxy_of("fallback = \"local\"\ncompression = \"never\"\n");
        assert_eq!((proxy.fallback, proxy.compression), (Fallback::Local, FrameCompression::Never));
        let proxy = proxy_of("");
        assert_eq!((proxy.fallback, proxy.compression), (Fallback::None, FrameCompression::Auto));
        check(
            "fallback = \"locl\"\n",
            "config.toml line 2: `plugins.proxy.fallback` must be \
                 none or local, found `locl`, the nearest is `local`",
        );
    }

    #[test]
    fn wrong_urls_are_refused_without_their_passwords() {
        check(
            "proxy_urls = [\"http://me:canary@host\"]\n",
            "config.toml line 2: `plugins.proxy.proxy_urls` has `http://[redacted]@host`: a peer's URL has no user \
             name or password, put the secret into `plugins.proxy.auth.rules`",
        );
        check(
            "proxy_urls = [\"http://a\",\n\"http://A:80/\"]\n",
            "config.toml line 3: `plugins.proxy.proxy_urls` has `http://a:80` twice",
        );
        check(
            "[plugins.proxy.proxy_urls.\"http://me:canary@host\"]\nkey = \"\"\n",
            "config.toml line 2: `plugins.proxy.proxy_urls` has `http://[redacted]@host`: a peer's URL has no user \
             name or password, put the secret into `plugins.proxy.auth.rules`\n\
             config.toml line 3: `plugins.proxy.proxy_urls.\"http://[redacted]@host\".key` has an empty secret",
        );
    }

    #[test]
    fn each_fault_of_a_url_has_its_sentence() {
        for (url, sentence) in [
            ("ftp://a", "a peer's URL starts with http:// or https://"),
            ("http://a:x", "the port of a peer's URL is a number from 1 to 65535"),
            ("http://a/b", "a peer's URL has no path, query or fragment, as in http://remotehost:8080"),
            (
                "http://a b",
                "a peer's URL needs a host name or an address, as in http://remotehost:8080 or http://[::1]:8080",
            ),
        ] {
            for key in ["proxy_urls = [\"URL\"]", "proxy_functions = { \"URL\" = [] }"] {
                let name = key.split(' ').next().unwrap_or_default();
                let shown = url.replace("/b", "/[redacted]");
                let expected =
                    format!("config.toml line 2: `plugins.proxy.{name}` has `{shown}`: {sentence}");
                check(&format!("{}\n", key.replace("URL", url)), &expected);
            }
        }
    }

    #[test]
    fn functions_need_a_listed_peer_that_can_be_called() {
        check(
            "proxy_urls = [\"http://remotehost:8080\"]\nproxy_functions = { \"http://remotehost:8081\" = [\"x.f\"] }\n",
            "config.toml line 3: `plugins.proxy.proxy_functions` has `http://remotehost:8081`, which is not in \
             `plugins.proxy.proxy_urls`, the nearest there is `http://remotehost:8080`",
        );
        check(
            "proxy_functions = { \"http://a\" = [\"x.f\"] }\n",
            "config.toml line 2: `plugins.proxy.proxy_functions` has `http://a:80`, which is not in \
             `plugins.proxy.proxy_urls`",
        );
        check(
            "proxy_urls = [\"http://a\"]\nproxy_functions = { \"http://a\" = [\n\"x.f\",\n\"x f\"] }\n",
            "config.toml line 5: `plugins.proxy.proxy_functions` has `x f` for `http://a:80`: a function name is \
             1 to 255 characters of A-Z a-z 0-9 _ - in parts joined by single dots",
        );
        check(
            "proxy_urls = [\"http://a\"]\nwhite_list = [\"/api/*\"]\nproxy_functions = { \"http://a\" = [\"x.f\"] }\n",
            "",
        );
        check(
            "proxy_urls = [\"http://a\"]\nwhite_list = [\"/health\"]\nproxy_functions = { \"http://a\" = [\"x.f\"] }\n",
            "config.toml line 4: `plugins.proxy.proxy_functions` has functions for `http://a:80`, where \
             `white_list`, `enable` and `disable` do not allow `/api/v1/proxy/remote`",
        );
    }

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
