//! Warnings about access: open paths, rules that protect less than they seem to, and keys of callers.

use crate::api::{FUNCTIONS_PATH, OPENAPI_PATH, REMOTE_PATH};
use crate::config::{Access, Closed, Config, ConfiguredCaller, SealedCalls, Secret};

/// The length below which keys of rules and callers are warned of.
const KEY_BYTES_MIN: usize = 16;

impl Config {
    pub(super) fn warn_of_access(&self, warnings: &mut Vec<String>) {
        let access = self.access();
        if let SealedCalls::Closed(why) = &access.sealed {
            let why = match why {
                Closed::Reachable => {
                    format!("`server.host` {} can be reached from other machines", self.server.host)
                }
                Closed::Callers => "no caller of `auth.callers` has a key".to_owned(),
                Closed::Rule(pattern) => {
                    format!("the rule for `{pattern}` asks calls for a key, which keyless hosts do not have")
                }
            };
            warnings.push(format!(
                "`{REMOTE_PATH}` answers no host: {why}, and `plugins.proxy.auth.rules` has no key for that path"
            ));
        }
        let asks_for_certificates = self.server_tls.as_ref().is_some_and(|tls| tls.client_verifier.is_some());
        if !access.needs_key_to_call() && !self.server.is_loopback() && !asks_for_certificates {
            warnings.push(format!(
                "`server.host` {} can be reached from other machines, and anyone there can call every function that no \
                 rule protects, without a key: set `auth` to limit calls",
                self.server.host
            ));
        }
        self.warn_of_open_lists(&access, warnings);
        self.warn_of_short_keys(&access, warnings);
    }

    /// Warns of open lists: calls and the two lists of functions have paths of their own.
    fn warn_of_open_lists(&self, access: &Access, warnings: &mut Vec<String>) {
        let open: Vec<&str> =
            [FUNCTIONS_PATH, OPENAPI_PATH].into_iter().filter(|path| !access.needs_key(path)).collect();
        match open.as_slice() {
            [] => {}
            [one] if !access.needs_key_to_call() => {
                let other = if *one == OPENAPI_PATH { FUNCTIONS_PATH } else { OPENAPI_PATH };
                warnings.push(format!(
                    "`{one}` is open, and lists the functions that the rule for `{other}` keeps from others"
                ));
            }
            open if access.needs_key_to_call() => {
                let (paths, are) = (open.join("` and `"), if open.len() == 1 { "is" } else { "are" });
                warnings.push(format!(
                    "`{paths}` {are} open: calls need a key, and anyone can list the functions; a rule for `/api/v1/*` \
                     covers the lists as well"
                ));
            }
            _ => {}
        }
        let of_auth = self.auth.as_ref().is_some_and(|rules| rules.keys_of(FUNCTIONS_PATH).is_some());
        if of_auth && !access.needs_key_to_call() {
            warnings.push(format!(
                "functions can be called without a key: the rule for `{FUNCTIONS_PATH}` protects the list alone, and one \
                 for `{FUNCTIONS_PATH}/*` would protect calls"
            ));
        }
    }

    /// Warns of short keys of rules. Keys that seal are warned of as passphrases, and keys of callers by name.
    fn warn_of_short_keys(&self, access: &Access, warnings: &mut Vec<String>) {
        let seals = |key: &Secret| self.sealing_secrets().contains(key);
        for (pattern, keys) in access.rules.iter() {
            let is_short = |key: &Secret| key.expose().len() < KEY_BYTES_MIN;
            let mut others = keys.iter().filter(|key| !seals(key) && !self.is_key_of_caller(key));
            if others.any(is_short) {
                warnings.push(short_key(&format!("the rule for `{pattern}`")));
            }
        }
    }

    /// Returns true if any caller has this key.
    fn is_key_of_caller(&self, key: &Secret) -> bool {
        self.callers.keys().any(|known| known == key)
    }

    pub(super) fn warn_of_callers(&self, warnings: &mut Vec<String>) {
        for ConfiguredCaller { caller, keys, .. } in self.callers.iter() {
            let short = keys.iter().filter(|key| key.expose().len() < KEY_BYTES_MIN);
            warnings.extend(short.map(|_| short_key(&format!("`auth.callers.{}`", caller.name))));
        }
        if self.callers.is_empty() {
            return;
        }
        let is_closed = matches!(self.sealed_calls(), SealedCalls::Closed(_));
        if !is_closed && self.sealing_secrets().is_empty() && !self.proxy.peers.is_empty() {
            warnings.push(format!(
                "`{REMOTE_PATH}` answers only `auth.callers`: `plugins.proxy.auth.rules` has no key for that path, \
                 which other hosts of this machine need as well where there are callers"
            ));
        }
        for (pattern, keys) in self.listener_rules().iter() {
            let text = pattern.to_string();
            if text.starts_with("/api/v1/functions/") && keys.iter().any(|key| !self.is_key_of_caller(key)) {
                warnings.push(format!(
                    "a key of the rule for `{text}` belongs to no caller, so it may not call any function: \
                     add the key to a caller of `auth.callers`"
                ));
            }
        }
    }
}

fn short_key(place: &str) -> String {
    format!(
        "a key of {place} has fewer than {KEY_BYTES_MIN} characters, and can be guessed: `framex-host keygen` makes a \
         better one"
    )
}

#[cfg(test)]
mod tests {
    use crate::config::testing::config;

    const KEY: &str = "0123456789abcdef";
    const LISTS: &str = "`/api/v1/functions` and `/api/v1/openapi.json` are open: calls need a key, and anyone can list \
                         the functions; a rule for `/api/v1/*` covers the lists as well";

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(config(text).warnings(), expected, "{text}");
    }

    fn closed_by(rule: &str) -> String {
        format!(
            "`/api/v1/proxy/remote` answers no host: the rule for `{rule}` asks calls for a key, which keyless hosts do \
             not have, and `plugins.proxy.auth.rules` has no key for that path"
        )
    }

    #[test]
    fn what_stays_open_beside_a_rule_is_named() {
        let rules = |paths: &[&str]| {
            let rules: Vec<String> = paths.iter().map(|path| format!("{path:?} = [{KEY:?}]")).collect();
            format!("[auth]\nrules = {{ {} }}\n", rules.join(", "))
        };
        check(&rules(&["/api/v1/*"]), &[&closed_by("/api/v1/*")]);
        check(&rules(&["/api/v1/functions/*"]), &[&closed_by("/api/v1/functions/*"), LISTS]);
        let one = "`/api/v1/openapi.json` is open: calls need a key, and anyone can list the functions; a rule for \
                   `/api/v1/*` covers the lists as well";
        check(
            &rules(&["/api/v1/functions/*", "/api/v1/functions"]),
            &[&closed_by("/api/v1/functions/*"), one],
        );
        let lists = rules(&["/api/v1/functions/*", "/api/v1/functions", "/api/v1/openapi.json"]);
        check(&lists, &[&closed_by("/api/v1/functions/*")]);
        check(&rules(&["/api/v1/functions/demo.f"]), &[&closed_by("/api/v1/functions/demo.f")]);
        let other = "`/api/v1/openapi.json` is open, and lists the functions that the rule for `/api/v1/functions` keeps \
                     from others";
        let calls = "functions can be called without a key: the rule for `/api/v1/functions` protects the list alone, and \
                     one for `/api/v1/functions/*` would protect calls";
        check(&rules(&["/api/v1/functions"]), &[other, calls]);
        check(&rules(&["/api/v1/functions", "/api/v1/openapi.json"]), &[calls]);
    }

    #[test]
    fn keys_that_can_be_guessed_are_warned_of() {
        let rules = |key: &str| format!("[auth]\nrules = {{ \"/ready\" = [{key:?}] }}\n");
        check(&rules(KEY), &[]);
        let short = "a key of the rule for `/ready` has fewer than 16 characters, and can be guessed: `framex-host keygen` \
                     makes a better one";
        check(&rules("k"), &[short]);
        check(&rules(&KEY[1..]), &[short]);
        // One that is a caller's is warned of there.
        let caller = "[auth.callers.web]\nkeys = [\"k\"]\nfunctions = []\n";
        assert_eq!(config(&format!("{}{caller}", rules("k"))).warnings().len(), 1);
    }

    #[test]
    fn functions_that_other_machines_can_call_without_a_key_are_warned_of() {
        let open = "`server.host` 0.0.0.0 can be reached from other machines, and anyone there can call every function \
                    that no rule protects, without a key: set `auth` to limit calls";
        let key = format!("fxk1_{}", "BA".repeat(21) + "A");
        let sealing = format!("[plugins.proxy.auth]\nrules = {{ \"/api/v1/proxy/remote\" = [{key:?}] }}\n");
        let host = format!("[server]\nhost = \"0.0.0.0\"\n{sealing}");
        check(&sealing, &[]);
        check(&host, &[open]);
        check(&format!("{host}[auth]\nrules = {{ \"/api/v1/*\" = [{KEY:?}] }}\n"), &[]);
        check(&format!("{host}[auth.callers.web]\nkeys = [{KEY:?}]\nfunctions = [\"*\"]\n"), &[]);
    }
}
