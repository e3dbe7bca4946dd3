//! The dump of `check --output json`: the whole config, without its secrets.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::base::CertificateName;

use crate::config::{AuthRules, Config, ConfiguredCaller, ConfiguredPeer, PathPattern, PathPatterns, Secret};

/// Replaces every value that may be a secret.
const REDACTED: &str = "[redacted]";

impl Config {
    /// Returns all keys in the shape of the file, with defaults. Secrets read `[redacted]`, and so does every value in
    /// the tables of plugins, because only the plugin knows which are secret.
    pub fn dump(&self) -> Value {
        let mut plugins: Map<String, Value> = self
            .plugin_settings
            .iter()
            .map(|(name, settings)| (name.clone(), redacted(&settings.table)))
            .collect();
        plugins.insert("proxy".to_owned(), self.dump_of_proxy());
        let tls = self.server_tls.as_ref().map(|tls| {
            json!({
                "cert": display(&tls.cert),
                "key": display(&tls.key),
                "client_ca": tls.client_ca.as_deref().map(display),
            })
        });
        let mut server = self.server.dump();
        server.insert("tls".to_owned(), tls.into());
        json!({
            "host_id": self.configured_host_id(),
            "plugin_dir": display(&self.plugin_dir),
            "state_dir": display(&self.state_dir),
            "load_plugins": self.load_plugins,
            "server": server,
            "admin": {
                "socket": display(&self.admin_socket),
                "listen": self.admin_tcp.as_ref().map(|tcp| tcp.listen.to_string()),
                "token": self.admin_tcp.as_ref().map(|_| REDACTED),
            },
            "auth": self.dump_of_auth(),
            "plugins": plugins,
            "limits": self.limits,
            "reload": self.reload.dump(),
            "trust": self.trust.is_configured().then(|| self.dump_of_trust()),
            "log": self.log.dump(),
        })
    }

    fn dump_of_trust(&self) -> Value {
        let keys: Vec<&String> = self.trust.keys.iter().map(|key| &key.base64).collect();
        json!({ "sha256": self.trust.sha256, "keys": keys })
    }

    /// Returns null without `[auth]`.
    fn dump_of_auth(&self) -> Value {
        let mut auth = Map::new();
        if let Some(rules) = &self.auth {
            auth.insert("rules".to_owned(), rules_without_keys(rules));
        }
        if !self.callers.is_empty() {
            let caller = |known: &ConfiguredCaller| {
                let ConfiguredCaller { caller, keys, certificates } = known;
                let functions: Vec<String> = caller.functions.iter().map(ToString::to_string).collect();
                let keys = vec![REDACTED; keys.len()];
                let certificates: Vec<&str> = certificates.iter().map(CertificateName::as_str).collect();
                let shown = json!({ "keys": keys, "certificates": certificates, "functions": functions });
                (caller.name.to_string(), shown)
            };
            auth.insert("callers".to_owned(), Value::Object(self.callers.iter().map(caller).collect()));
        }
        if auth.is_empty() { Value::Null } else { auth.into() }
    }

    fn dump_of_proxy(&self) -> Value {
        let proxy = &self.proxy;
        let mut functions: Map<String, Value> = Map::new();
        for peer in &proxy.peers {
            let runs_there = proxy.functions.iter().filter(|(_, urls)| urls.contains(&peer.url));
            let names: Vec<Value> = runs_there.map(|(name, _)| name.as_str().into()).collect();
            if !names.is_empty() {
                functions.insert(peer.url.to_string(), names.into());
            }
        }
        let dump_of_peer = |peer: &ConfiguredPeer| {
            let key = peer.key.as_ref().map(|_| REDACTED);
            json!({
                "enable": texts(&peer.enable), "disable": texts(&peer.disable), "key": key,
                "priority": peer.priority, "weight": peer.weight, "discover": peer.discover.text(),
                "host_id": peer.host_id.as_deref(), "bind": peer.bind,
            })
        };
        let peers = proxy.peers.iter().map(|peer| (peer.url.to_string(), dump_of_peer(peer)));
        let tls = proxy.tls.as_ref();
        let identity = tls.and_then(|tls| tls.identity.as_ref());
        let by_hand = json!({
            "proxy_urls": Value::Object(peers.collect()),
            "white_list": proxy.white_list.as_ref().map(texts),
            "proxy_functions": functions,
            "tls": {
                "ca": tls.and_then(|tls| tls.ca.as_deref()).map(display),
                "cert": identity.map(|(cert, _)| display(cert)),
                "key": identity.map(|(_, key)| display(key)),
            },
            "auth": { "rules": rules_without_keys(&self.proxy_auth) },
        });
        let mut table = proxy.dump();
        table.extend(by_hand.as_object().cloned().unwrap_or_default());
        table.into()
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

fn texts(patterns: &PathPatterns) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}

fn rules_without_keys(rules: &AuthRules) -> Value {
    let rule = |(pattern, keys): (&PathPattern, &[Secret])| {
        (pattern.to_string(), Value::from(vec![REDACTED; keys.len()]))
    };
    Value::Object(rules.iter().map(rule).collect())
}

/// Returns the same shape with every value redacted.
fn redacted(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), redacted(value))).collect(),
        Value::Array(values) => values.iter().map(redacted).collect(),
        _ => REDACTED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::REMOTE_PATH;
    use crate::config::keys::KEYS;
    use crate::config::testing::{config, load};
    use crate::config::{Environment, Overrides, SealedCalls};

    const DOCUMENT: &str = include_str!("../../../../config/document.toml");
    const EXAMPLE: &str = include_str!("../../../../config/config.toml");

    #[test]
    fn the_snippets_of_the_document_are_a_config() {
        let config = config(DOCUMENT);
        let peer = &config.proxy.peers[0];
        assert_eq!(peer.url.to_string(), "http://remotehost:8080");
        assert!(peer.allows(REMOTE_PATH) && !peer.allows("/api/v1/openapi.json"));
        let function = crate::base::FunctionName::new("demo.some.example_func").unwrap();
        assert_eq!(config.proxy.urls_of(&function), std::slice::from_ref(&peer.url));
        assert_eq!(config.sealing_secret_for(peer).map(Secret::expose), Some("proxy-key"));
        assert_eq!(
            config.listener_rules().keys_for("/api/v1/openapi.json").unwrap()[0].expose(),
            "openapi-key"
        );
        assert!(config.listener_rules().keys_for("/api/v1/functions").is_none());
        assert_eq!(config.sealed_calls(), SealedCalls::WithKey);
    }

    #[test]
    fn the_example_shows_every_key_with_its_default() {
        let mut example = config(EXAMPLE).dump();
        let mut defaults = config("").dump();
        // Random.
        example["host_id"].take();
        defaults["host_id"].take();
        assert_eq!(example, defaults);
        let mut table = String::new();
        let mut shown = Vec::new();
        for line in EXAMPLE.lines().map(|line| line.trim_start_matches("# ")) {
            if let Some(header) = line.strip_prefix('[') {
                table = header.replace(']', ".");
            } else if let Some((name, _)) = line.split_once(" = ") {
                shown.push(format!("{table}{name}"));
            }
        }
        for key in KEYS.iter() {
            assert!(shown.iter().any(|name| name == *key), "{key}");
        }
    }

    #[test]
    fn the_example_is_right_without_its_comment_signs() {
        let is_key = |line: &str| !line.starts_with(' ') && (line.contains(" = ") || line.starts_with('['));
        let uncomment =
            |line: &'static str| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line);
        let text: Vec<&str> = EXAMPLE.lines().map(uncomment).collect();
        let secrets =
            [("CALLER_KEY", "k"), ("WEB_KEY", "0123456789abcdef"), ("ADMIN_TOKEN", "0123456789abcdef")];
        let environment = secrets.into_iter().collect();
        let scratch = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["host-b".to_owned()]).unwrap();
        for (name, pem) in [
            ("cert.pem", own.cert.pem()),
            ("key.pem", own.signing_key.serialize_pem()),
            ("client-ca.pem", own.cert.pem()),
            ("peers-ca.pem", own.cert.pem()),
        ] {
            std::fs::write(scratch.path().join(name), pem).unwrap();
        }
        let file = scratch.path().join("config.toml");
        let text = text.join("\n");
        let config = Config::from_text(&text, &file, &environment, &Overrides::default()).unwrap();
        assert!(config.server_tls.is_some() && config.proxy.tls.is_some());
        assert_eq!(&*config.host_id, "host-b");
        assert!(
            config.listener_rules().keys_for("/api/v1/functions").is_some() && !config.callers.is_empty()
        );
        assert_eq!(config.admin_tcp.unwrap().listen, "127.0.0.1:9090".parse().unwrap());
    }

    #[test]
    fn secrets_show_nowhere() {
        let text = "[auth]\nrules = { \"/a\" = [\"canary-1\"], \"/b/*\" = [\"env:KEY\"] }\n\
                    [plugins.demo]\nurl = \"canary-3\"\ndeep = { list = [{ pin = 471100 }] }\n\
                    [plugins.proxy.proxy_urls]\n\"http://a\" = { key = \"canary-4\" }\n\
                    [plugins.proxy.auth]\nrules = { \"/api/v1/proxy/remote\" = [\"canary-5\"] }\n\
                    [admin]\nlisten = \"0.0.0.0:0\"\ntoken = \"canary-of-the-admin\"\n\
                    [auth.callers.web]\nkeys = [\"canary-9\", \"env:KEY\"]\nfunctions = [\"demo.*\", \"*\"]\n";
        let environment: Environment =
            [("KEY", "canary-2"), ("FRAMEX_PLUGINS__X__Y", "canary-6")].into_iter().collect();
        let overrides = Overrides::default().with("--key", "plugins.y.z", "canary-7");
        let config = load(text, &environment, &overrides).unwrap();
        let outputs = [
            config.dump().to_string(),
            format!("{config:?}"),
            config.warnings().join("\n"),
            format!("{environment:?}{overrides:?}"),
        ];
        for output in &outputs {
            assert!(!output.contains("canary") && !output.contains("4711"), "{output}");
        }
        assert_eq!(config.dump()["plugins"]["demo"]["deep"]["list"][0]["pin"], REDACTED);
        assert_eq!(config.dump()["auth"]["rules"]["/b/*"], json!([REDACTED]));
        assert_eq!(config.dump()["admin"]["token"], REDACTED);
        let web = json!({ "keys": [REDACTED, REDACTED], "certificates": [], "functions": ["demo.*", "*"] });
        assert_eq!(config.dump()["auth"]["callers"], json!({ "web": web }));
        // The same secrets in a config that is refused in every part.
        let refused = format!("port = 1\n{text}key = \"canary-8\"\n[log]\nlevel = 1\n");
        let error = load(&refused, &environment, &overrides).unwrap_err();
        assert_eq!(error.to_string().lines().count(), 3);
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }

    #[test]
    fn auth_protects_where_it_is_present() {
        let proxy =
            "[plugins.proxy.auth]\nrules = { \"/api/v1/proxy/remote\" = [\"p\", \"q\"], \"/x\" = [\"x\"] }\n";
        let sealing = |text: &str| {
            config(text).sealing_secrets().iter().map(|key| key.expose().to_owned()).collect::<Vec<_>>()
        };
        let door = |text: &str, path: &str| {
            config(text).listener_rules().keys_for(path).map(|keys| keys[0].expose().to_owned())
        };
        assert_eq!(sealing(proxy), ["p", "q"]);
        assert_eq!(door(proxy, "/x").as_deref(), Some("x"));
        let both = format!("{proxy}[auth]\nrules = {{ \"/api/v1/proxy/remote\" = [\"a\"] }}\n");
        assert_eq!(sealing(&both), ["p", "q"], "the rules of the proxy still seal");
        assert_eq!(door(&both, "/x"), None);
        let exact = "[auth]\nrules = { \"/api/v1/proxy/remote\" = [\"a\"], \"/api/*\" = [\"b\"] }\n";
        assert_eq!(sealing(exact), ["a"]);
        let prefix = "[auth]\nrules = { \"/api/v1/*\" = [\"callers\"] }\n";
        assert!(sealing(prefix).is_empty(), "keys of callers do not seal");
        let prefix = "[plugins.proxy.auth]\nrules = { \"/api/v1/*\" = [\"p\"] }\n";
        assert_eq!(sealing(prefix), ["p"]);
    }
}
