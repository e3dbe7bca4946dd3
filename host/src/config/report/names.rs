//! Warnings about names of plugins, functions and paths that are most likely misspelt.
//!
//! Names of plugins and functions can be compared once the plugins have started.

use std::collections::BTreeSet;

use crate::api::{FUNCTIONS_PATH, HEALTH_PATH, OPENAPI_PATH, READY_PATH, REMOTE_PATH};
use crate::base::{FunctionName, nearest};
use crate::config::{Config, PathPatterns};

/// Maximum distance, in characters, between a misspelt name and the name of a function here.
const SLIP_CHARS_MAX: usize = 2;

/// The plugins and functions of this host, once its plugins have started.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The plugins that serve.
    pub plugins: BTreeSet<String>,
    /// The functions of all plugins.
    pub functions: BTreeSet<FunctionName>,
    /// Names of plugins, or of files, that failed: their functions are unknown.
    pub failed: Vec<String>,
}

impl Known {
    /// Returns true if a plugin of this name may be here: one that failed, by its own name or that of its file.
    fn has_plugin(&self, name: &str) -> bool {
        let of_file = name.replace('-', "_");
        let is_it = |failed: &String| failed == name || (failed.contains('.') && failed.contains(&of_file));
        self.plugins.contains(name) || self.failed.iter().any(is_it)
    }
}

impl Config {
    /// Warns of names that match no plugin or function of this host, in one sentence each, with the nearest name.
    pub fn warnings_of_names(&self, known: &Known) -> Vec<String> {
        let mut warnings = Vec::new();
        self.warn_of_plugin_names(known, &mut warnings);
        if known.failed.is_empty() {
            self.warn_of_function_names(known, &mut warnings);
        }
        warnings
    }

    fn warn_of_plugin_names(&self, known: &Known, warnings: &mut Vec<String>) {
        // If the config names the plugins, `warnings` reports tables of others.
        let tables = self.plugin_settings.keys().filter(|_| self.load_plugins.is_none());
        let tables = tables.map(|name| ("plugins", name));
        let limits = self.limits.plugins.keys().map(|name| ("limits.plugins", name));
        let digests = self.trust.sha256.keys().map(|name| ("trust.sha256", name));
        for (key, name) in tables.chain(limits).chain(digests).filter(|(_, name)| !known.has_plugin(name)) {
            let plugins = known.plugins.iter().chain(&known.failed).map(String::as_str);
            let nearest = nearest(name, plugins.filter(|name| !name.contains('.')), 1);
            warnings.push(sentence(&format!("`{key}.{name}` names no plugin"), nearest.first().copied()));
        }
    }

    fn warn_of_function_names(&self, known: &Known, warnings: &mut Vec<String>) {
        let names = || known.functions.iter().map(FunctionName::as_str);
        let is_here = |name: &FunctionName| known.functions.contains(name);
        let mut warn = |what: String, name: &str, is_of_peers: bool, candidates: &[&str]| {
            let nearest = nearest(name, candidates.iter().copied(), 1).first().copied();
            // A peer may have it: only a similar name here makes it a slip.
            if !is_of_peers || nearest.is_some_and(|nearest| is_slip(name, nearest)) {
                warnings.push(sentence(&format!("{what} names no function"), nearest));
            }
        };
        let functions: Vec<&str> = names().collect();
        let has_peers = !self.proxy.peers.is_empty();
        for name in self.limits.functions.keys().filter(|name| !is_here(name)) {
            warn(format!("`limits.functions.\"{name}\"`"), name.as_str(), has_peers, &functions);
        }
        for name in self.proxy.functions.keys().filter(|name| !is_here(name)) {
            warn(format!("`{name}` in `plugins.proxy.proxy_functions`"), name.as_str(), true, &functions);
        }
        let groups: BTreeSet<String> = names().flat_map(groups).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        for caller in self.callers.iter().map(|known| &known.caller) {
            let callable = || known.functions.iter().chain(self.proxy.functions.keys());
            let idle = caller.functions.iter().filter(|pattern| !callable().any(|name| pattern.covers(name)));
            for pattern in idle.map(ToString::to_string).filter(|pattern| pattern != "*") {
                let candidates = if pattern.ends_with(".*") { &groups } else { &functions };
                let what = format!("`{pattern}` in `auth.callers.{}.functions`", caller.name);
                warn(what, &pattern, has_peers, candidates);
            }
        }
    }

    /// Warns of paths of peers that no host has.
    pub(in crate::config) fn warn_of_paths(&self, warnings: &mut Vec<String>) {
        const PATHS: [&str; 5] = [REMOTE_PATH, FUNCTIONS_PATH, READY_PATH, OPENAPI_PATH, HEALTH_PATH];
        let mut warn = |key: String, patterns: &PathPatterns| {
            for pattern in patterns.iter().filter(|pattern| !pattern.covers_something()) {
                let pattern = pattern.to_string();
                let nearest = nearest(&pattern, PATHS, 1)
                    .first()
                    .map_or_else(String::new, |path| format!("; the nearest is `{path}`"));
                warnings.push(format!("`{pattern}` in `{key}` is a path that no host has{nearest}"));
            }
        };
        self.proxy.white_list.iter().for_each(|list| warn("plugins.proxy.white_list".to_owned(), list));
        for peer in &self.proxy.peers {
            let key = |list: &str| format!("plugins.proxy.proxy_urls.\"{}\".{list}", peer.url);
            warn(key("enable"), &peer.enable);
            warn(key("disable"), &peer.disable);
        }
    }
}

fn sentence(what: &str, nearest: Option<&str>) -> String {
    let nearest = nearest.map_or_else(String::new, |nearest| format!("; the nearest is `{nearest}`"));
    format!("{what} of this host{nearest}")
}

/// Returns the patterns that cover a function and others with the same prefix.
fn groups(name: &str) -> impl Iterator<Item = String> {
    name.match_indices('.').map(|(end, _)| format!("{}.*", &name[..end]))
}

fn is_slip(written: &str, meant: &str) -> bool {
    strsim::osa_distance(written, meant) <= SLIP_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::config;

    fn known() -> Known {
        let functions = ["hello.greet", "hello.wave", "reports.flights.day"];
        Known {
            plugins: ["hello", "reports"].map(str::to_owned).into(),
            functions: functions.map(|name| FunctionName::new(name).unwrap()).into(),
            failed: Vec::new(),
        }
    }

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(config(text).warnings_of_names(&known()), expected, "{text}");
    }

    #[test]
    fn plugins_that_are_not_here_are_named_with_the_nearest() {
        check("[plugins.hello]\n[limits.plugins.reports]\nin_flight_max = 1\n", &[]);
        check("[plugins.helo]\n", &["`plugins.helo` names no plugin of this host; the nearest is `hello`"]);
        check("[plugins.zzz]\n", &["`plugins.zzz` names no plugin of this host"]);
        check(
            "[limits.plugins.report]\nin_flight_max = 1\n",
            &["`limits.plugins.report` names no plugin of this host; the nearest is `reports`"],
        );
        let digest = "0".repeat(64);
        check(
            &format!("[trust.sha256]\nhelo = \"{digest}\"\n"),
            &["`trust.sha256.helo` names no plugin of this host; the nearest is `hello`"],
        );
    }

    #[test]
    fn functions_that_are_not_here_are_named_with_the_nearest() {
        let limit = |name: &str| format!("[limits.functions.\"{name}\"]\nin_flight_max = 1\n");
        check(&limit("hello.greet"), &[]);
        let slip =
            "`limits.functions.\"hello.gret\"` names no function of this host; the nearest is `hello.greet`";
        check(&limit("hello.gret"), &[slip]);
        check(&limit("zzz"), &["`limits.functions.\"zzz\"` names no function of this host"]);
        let callers = |functions: &str| {
            format!("[auth.callers.web]\nkeys = [\"0123456789abcdef\"]\nfunctions = {functions}\n")
        };
        check(&callers(r#"["*", "hello.*", "reports.flights.*", "hello.wave"]"#), &[]);
        check(
            &callers(r#"["helo.*", "hello.wav"]"#),
            &[
                "`helo.*` in `auth.callers.web.functions` names no function of this host; the nearest is `hello.*`",
                "`hello.wav` in `auth.callers.web.functions` names no function of this host; the nearest is \
                 `hello.wave`",
            ],
        );
    }

    #[test]
    fn what_a_peer_may_have_is_warned_of_only_where_it_looks_like_a_slip() {
        let peers = "[plugins.proxy]\nproxy_urls = [\"http://127.0.0.1:1\"]\n";
        let functions =
            |names: &str| format!("{peers}proxy_functions = {{ \"http://127.0.0.1:1\" = {names} }}\n");
        check(&functions(r#"["hello.greet", "reports.flights.busiest", "far.away"]"#), &[]);
        check(
            &functions(r#"["hello.gret"]"#),
            &[
                "`hello.gret` in `plugins.proxy.proxy_functions` names no function of this host; the nearest is \
               `hello.greet`",
            ],
        );
        check(&format!("{peers}[limits.functions.\"far.away\"]\nin_flight_max = 1\n"), &[]);
        let caller = "[auth.callers.web]\nkeys = [\"0123456789abcdef\"]\nfunctions = [\"far.*\"]\n";
        check(&format!("{peers}{caller}"), &[]);
    }

    #[test]
    fn what_failed_may_have_been_it() {
        let text = "[plugins.slwo]\n[plugins.bro-ken]\n[limits.functions.\"broken.f\"]\nin_flight_max = 1\n";
        let failed = ["libbro_ken.so", "slow"].map(str::to_owned).into();
        let warnings = config(text).warnings_of_names(&Known { failed, ..known() });
        assert_eq!(warnings, ["`plugins.slwo` names no plugin of this host; the nearest is `slow`"]);
    }

    #[test]
    fn paths_that_no_host_has_are_warned_of() {
        let check = |text: &str, expected: &[&str]| {
            let mut warnings = config(text).warnings();
            warnings.retain(|warning| warning.contains("no host has"));
            assert_eq!(warnings, expected, "{text}");
        };
        check("plugins.proxy.white_list = [\"/api/v1/proxy/remote\", \"/api/*\", \"/ready\"]\n", &[]);
        check(
            "plugins.proxy.white_list = [\"/api/v1/proxy/remot\"]\n",
            &[
                "`/api/v1/proxy/remot` in `plugins.proxy.white_list` is a path that no host has; the nearest is \
               `/api/v1/proxy/remote`",
            ],
        );
        check(
            "plugins.proxy.proxy_urls.\"http://127.0.0.1:1\" = { disable = [\"/zzz/*\"] }\n",
            &[
                "`/zzz/*` in `plugins.proxy.proxy_urls.\"http://127.0.0.1:1\".disable` is a path that no host has",
            ],
        );
    }
}
