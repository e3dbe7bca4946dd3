//! The variables of the environment: of the process, or a fixed set.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

/// The beginning of the name of a variable that sets a key.
pub(in crate::config) const PREFIX: &str = "FRAMEX_";

/// The variables with the prefix that belong to the command line instead of the config.
pub const COMMAND_LINE_VARIABLES: [&str; 4] = ["FRAMEX_CONFIG", "FRAMEX_KEY", "FRAMEX_OUTPUT", "FRAMEX_URL"];

/// The variables of the process, or a fixed set; empty by default.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Returns the variables of this process, as they are now.
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Returns the value of one variable; bytes that are not UTF-8 are an `Err`.
    pub(in crate::config) fn variable(&self, name: &str) -> Option<Result<String, OsString>> {
        self.0.get(OsStr::new(name)).cloned().map(OsString::into_string)
    }

    /// Returns the names with the prefix, sorted.
    pub(in crate::config) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|name| name.to_str()).filter(|name| name.starts_with(PREFIX))
    }

    /// Returns true for a variable with the prefix that sets no key: one of the command line, or a link that Kubernetes
    /// sets in every container for a Service named `framex` or `framex-...`
    /// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
    pub(in crate::config) fn is_no_key(&self, name: &str) -> bool {
        if COMMAND_LINE_VARIABLES.contains(&name) {
            return true;
        }
        if name.contains("__") {
            return false;
        }
        let is_link = || matches!(self.variable(name), Some(Ok(value)) if value.contains("://"));
        let of_port = |rest: &str| {
            let mut parts = rest.split('_');
            let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
            number && parts.next().is_some_and(|part| matches!(part, "TCP" | "UDP" | "SCTP"))
        };
        name.ends_with("_SERVICE_HOST")
            || name.ends_with("_SERVICE_PORT")
            || name.contains("_SERVICE_PORT_")
            || (name.ends_with("_PORT") && is_link())
            || name.match_indices("_PORT_").any(|(at, found)| of_port(&name[at + found.len()..]))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;
    use crate::config::testing::{load, problems_of};

    fn check(variables: &[(&str, &str)], expected: &str) {
        let environment = variables.iter().copied().collect();
        assert_eq!(problems_of("", &environment, &Overrides::default()), expected);
    }

    #[test]
    fn variables_of_the_process_are_read() {
        // Set by cargo for every test.
        let set = Environment::of_process().variable("CARGO_MANIFEST_DIR").unwrap().unwrap();
        assert_eq!(set, env!("CARGO_MANIFEST_DIR"));
        assert!(Environment::of_process().names().all(|name| name.starts_with(PREFIX)));
    }

    #[test]
    fn variables_that_are_like_no_key_are_warned_of() {
        let warnings = |names: &[&str]| {
            let environment = names.iter().map(|name| (*name, "1.2")).collect();
            load("", &environment, &Overrides::default()).map(|config| config.warnings())
        };
        for name in ["FRAMEX_VERSION", "FRAMEX_HOME", "FRAMEX_IMAGE", "FRAMEX_USER", "FRAMEX_BUILD__DATE"] {
            let warning = format!("variable {name} resembles no key of the config, and is ignored");
            assert_eq!(warnings(&[name]).unwrap(), [warning]);
        }
        let config = "variable FRAMEX_CONFG resembles no key of the config, and is ignored; the nearest is FRAMEX_CONFIG";
        assert_eq!(warnings(&["FRAMEX_CONFG"]).unwrap(), [config]);
        for name in
            ["FRAMEX_AUHT__RULES", "FRAMEX_SERVER__PROT", "FRAMEX_STATEDIR", "FRAMEX_ISOLATION__DEFAULT"]
        {
            assert!(warnings(&[name]).is_err(), "{name}");
        }
    }

    #[test]
    fn variables_for_somebody_else_are_left_alone() {
        check(
            &[
                ("FRAMEX_CONFIG", "x"),
                ("FRAMEX_SERVICE_HOST", "10.0.0.1"),
                ("FRAMEX_HOST_SERVICE_PORT_HTTP", "8080"),
                ("FRAMEX_PORT", "tcp://10.0.0.1:8080"),
                ("FRAMEX_PORT_8080_TCP_ADDR", "10.0.0.1"),
                ("FRAMEXX", "1"),
            ],
            "",
        );
        check(
            &[("FRAMEX_PORT", "8080")],
            "variable FRAMEX_PORT: unknown key `port`, the nearest known key is `server.port`, \
             as a variable FRAMEX_SERVER__PORT",
        );
        check(
            &[("FRAMEX_HOST", "::1")],
            "variable FRAMEX_HOST: unknown key `host`, the nearest known key is `server.host`, as a variable \
             FRAMEX_SERVER__HOST",
        );
        check(
            &[("FRAMEX_LOGLEVEL", "debug")],
            "variable FRAMEX_LOGLEVEL: unknown key `loglevel`, the nearest known key is `log.level`, as a variable \
             FRAMEX_LOG__LEVEL",
        );
        let text = "[auth]\nrules = { \"/api/*\" = [\"env:FRAMEX_CALLERS\"] }\n";
        let environment = [("FRAMEX_CALLERS", "k")].into_iter().collect();
        assert_eq!(problems_of(text, &environment, &Overrides::default()), "");
    }
}
