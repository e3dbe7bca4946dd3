//! The access to the public listener, with a key and without: one decision, made from the config alone, which the
//! listeners, the catalogue, OpenAPI and `check` follow.

use super::{AuthRules, Callers, Config};
use crate::api::{FUNCTIONS_PATH, OPENAPI_PATH};

/// The access to the public listener.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Access {
    /// The rules that protect paths.
    pub rules: AuthRules,
    /// The named callers.
    pub callers: Callers,
    /// The senders whose sealed frames are accepted.
    pub sealed: SealedCalls,
    /// The names, besides addresses and `localhost`, by which requests without a key may ask for this listener; `None`
    /// allows any name.
    pub names: Option<Vec<String>>,
}

/// The senders whose sealed frames are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedCalls {
    /// A host or a caller with a key of this config.
    WithKey,
    /// Every user of this machine: without a key, frames are sealed with a public one.
    Keyless,
    /// None: there is no key, and the rules or the listener do not permit keyless calls.
    Closed(Closed),
}

/// The reason for which keyless frames are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// Other machines can reach the listener.
    Reachable,
    /// `auth.callers` names callers.
    Callers,
    /// This rule asks plain calls for a key, which a keyless frame would evade.
    Rule(String),
}

impl Access {
    /// Returns true if a plain request for `path` needs a key, or a certificate of a caller.
    pub fn needs_key(&self, path: &str) -> bool {
        self.rules.keys_for(path).is_some() || (!self.callers.is_empty() && Self::is_of_functions(path))
    }

    /// Returns true if a plain call needs a key, also of a function that no rule names.
    pub fn needs_key_to_call(&self) -> bool {
        self.needs_key(&format!("{FUNCTIONS_PATH}/*"))
    }

    /// Returns true if functions are called or listed at `path`.
    pub fn is_of_functions(path: &str) -> bool {
        let below = path.strip_prefix(FUNCTIONS_PATH).is_some_and(|rest| rest.starts_with('/'));
        below || path == FUNCTIONS_PATH || path == OPENAPI_PATH
    }
}

impl Config {
    /// Decides the access to the public listener.
    pub fn access(&self) -> Access {
        Access {
            rules: self.listener_rules().clone(),
            callers: self.callers.clone(),
            sealed: self.sealed_calls(),
            names: self.names_of_listener(),
        }
    }

    /// Decides whose sealed frames are accepted: without a key, only where plain calls need none either.
    pub fn sealed_calls(&self) -> SealedCalls {
        if !self.sealing_secrets().is_empty() || self.callers.keys().next().is_some() {
            return SealedCalls::WithKey;
        }
        if !self.callers.is_empty() {
            return SealedCalls::Closed(Closed::Callers);
        }
        if !self.server.is_loopback() {
            return SealedCalls::Closed(Closed::Reachable);
        }
        // A rule for a single function counts as well: a frame names its function only once it is open.
        let protects_calls = self.listener_rules().iter().find(|(pattern, _)| pattern.covers_calls());
        match protects_calls {
            Some((pattern, _)) => SealedCalls::Closed(Closed::Rule(pattern.to_string())),
            None => SealedCalls::Keyless,
        }
    }

    /// On a loopback listener, a web page can ask by a name that its owner has bound to this machine. Elsewhere, names
    /// are checked if the config has some.
    fn names_of_listener(&self) -> Option<Vec<String>> {
        let names = &self.server.names;
        let is_any = names.iter().any(|name| name == "*") || (names.is_empty() && !self.server.is_loopback());
        (!is_any).then(|| names.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::REMOTE_PATH;
    use crate::config::testing::{config, problems};

    const KEYLESS: SealedCalls = SealedCalls::Keyless;
    const WITH_KEY: SealedCalls = SealedCalls::WithKey;

    fn closed_by(rule: &str) -> SealedCalls {
        SealedCalls::Closed(Closed::Rule(rule.to_owned()))
    }

    #[track_caller]
    fn check(text: &str, sealed: &SealedCalls) {
        let access = config(text).access();
        assert_eq!(access.sealed, *sealed, "{text}");
        let keyless = *sealed == KEYLESS;
        let needs_key = ["demo.f", "demo.some.example_func"]
            .map(|name| access.needs_key(&format!("{FUNCTIONS_PATH}/{name}")));
        assert!(!keyless || needs_key == [false; 2], "{text}: a frame would be the way around the rules");
    }

    #[test]
    fn keyless_frames_are_taken_only_where_plain_calls_need_no_key() {
        let open = "[server]\nhost = \"0.0.0.0\"\n";
        let caller = "[auth.callers.web]\nkeys = [\"0123456789abcdef\"]\nfunctions = [\"*\"]\n";
        let rule = |table: &str, path: &str| format!("[{table}]\nrules = {{ \"{path}\" = [\"k\"] }}\n");
        check("", &KEYLESS);
        check(open, &SealedCalls::Closed(Closed::Reachable));
        check(caller, &WITH_KEY);
        for (path, closes) in [
            ("/*", true),
            ("/api/*", true),
            ("/api/v1/*", true),
            ("/api/v1/functions/*", true),
            ("/api/v1/functions/demo.f", true),
            ("/api/v1/proxy/*", true),
            ("/api/v1/functions", false),
            ("/api/v1/openapi.json", false),
            ("/api/v1/functions/demo/*", false),
            ("/health", false),
            ("/ready", false),
        ] {
            let expected = if closes { closed_by(path) } else { KEYLESS };
            check(&rule("auth", path), &expected);
            // Rules of the proxy seal where they cover its path, and protect where there is no `[auth]`.
            let seals = ["/*", "/api/*", "/api/v1/*", "/api/v1/proxy/*"].contains(&path);
            check(&rule("plugins.proxy.auth", path), if seals { &WITH_KEY } else { &expected });
            check(&format!("{caller}{}", rule("plugins.proxy.auth", path)), &WITH_KEY);
        }
        check(&rule("auth", REMOTE_PATH), &WITH_KEY);
        check(&rule("plugins.proxy.auth", REMOTE_PATH), &WITH_KEY);
        // With `[auth]`, the rules of the proxy protect nothing: plain calls need no key, and frames need none.
        let both =
            format!("{}{}", rule("auth", "/health"), rule("plugins.proxy.auth", "/api/v1/functions/*"));
        check(&both, &KEYLESS);
        let both = format!("{}{}", rule("auth", "/api/v1/*"), rule("plugins.proxy.auth", REMOTE_PATH));
        check(&both, &WITH_KEY);
    }

    #[test]
    fn names_are_checked_on_loopback_and_where_there_are_some() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let access = config(&format!("[server]\n{text}\n")).access();
            let names =
                access.names.as_ref().map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(names.as_deref(), expected, "{text}");
        };
        check("", Some(&[]));
        check("host = \"::1\"", Some(&[]));
        check("host = \"0.0.0.0\"", None);
        check("names = [\"API.test\"]", Some(&["api.test"]));
        check("host = \"0.0.0.0\"\nnames = [\"api.test\"]", Some(&["api.test"]));
        check("names = [\"api.test\", \"*\"]", None);
    }

    #[test]
    fn names_without_a_host_are_refused() {
        let check = |name: &str| {
            let expected = format!(
                "config.toml line 1: `server.names` has `{name}`, which is not the name of a host, as in api.example.com, \
                 without scheme and port, nor `*` for any name"
            );
            assert_eq!(problems(&format!("server.names = [\"x.test\", {name:?}]")), expected);
        };
        for name in ["", "http://x.test", "x.test:80", "*.test", "x test", "[::1]", "b\u{fc}cher.test"] {
            check(name);
        }
    }

    #[test]
    fn callers_ask_for_keys_where_functions_are() {
        let access = config("[auth.callers.web]\nkeys = [\"k\"]\nfunctions = []\n").access();
        for (path, expected) in [
            (FUNCTIONS_PATH, true),
            ("/api/v1/functions/x", true),
            (OPENAPI_PATH, true),
            ("/api/v1/functionsx", false),
            ("/ready", false),
        ] {
            assert_eq!(access.needs_key(path), expected, "{path}");
        }
    }
}
