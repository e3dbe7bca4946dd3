//! Checks single values, and collects the problems.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

use crate::api::REMOTE_PATH;
use crate::base::nearest;
use crate::config::key::{KeyPath, redact};
use crate::config::keys::RawRules;
use crate::config::keys::number::NumberRule;
use crate::config::read::Sources;
use crate::config::values::{BROKEN_KEY, SecretSource};
use crate::config::{
    AuthRules, ConfigError, ConfigProblem, Environment, InvalidPath, Keyword, PathPattern, PathPatterns,
    Secret, ValueOrigin,
};

/// Checks values, and collects the problems.
pub(in crate::config) struct Validator<'a> {
    pub(in crate::config) sources: &'a Sources,
    pub(in crate::config) environment: &'a Environment,
    /// The folder that relative paths start from, absolute.
    pub(in crate::config) folder: PathBuf,
    problems: Vec<ConfigProblem>,
    /// The keys of secrets that are literals in the file.
    pub(in crate::config) literals: Vec<String>,
}

impl<'a> Validator<'a> {
    pub(in crate::config) fn new(
        sources: &'a Sources,
        environment: &'a Environment,
    ) -> Result<Self, ConfigError> {
        let mut folder = std::path::absolute(&sources.file)
            .map_err(|error| ConfigError::Unreadable(sources.file.clone(), error))?;
        folder.pop();
        Ok(Self { sources, environment, folder, problems: Vec::new(), literals: Vec::new() })
    }

    /// Returns `built` if there are no problems.
    pub(in crate::config) fn finish<T>(mut self, built: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() {
            return Ok(built);
        }
        self.problems.sort();
        Err(ConfigError::Invalid(self.problems))
    }

    /// Adds a problem: the sentence is the key and `fault`. After one, [`Validator::finish`] drops the values.
    pub(super) fn problem(&mut self, key: &KeyPath, fault: impl Display) {
        self.problem_in(key, key, fault);
    }

    /// Adds a problem of an entry, in a sentence about its table or list.
    pub(super) fn problem_in(&mut self, table: &KeyPath, entry: &KeyPath, fault: impl Display) {
        self.problems.push(self.sources.problem(entry, format!("`{table}` {fault}")));
    }

    /// Adds the problem of a text in another form than the one that the key needs.
    pub(super) fn unfit(&mut self, key: &KeyPath, needed: &str, found: &str) {
        self.problem(key, format!("must be {needed}, found `{}`", redact(found)));
    }

    /// Adds a problem of a variable that does not set a key.
    pub(super) fn problem_of_variable(&mut self, name: &str, text: String) {
        let origin = ValueOrigin::Variable(name.to_owned());
        self.problems.push(ConfigProblem { origin, offset: 0, text });
    }

    /// Returns a value; its fault becomes a problem.
    pub(in crate::config) fn good<T>(
        &mut self,
        key: &KeyPath,
        checked: Result<T, impl Display>,
    ) -> Option<T> {
        checked.map_err(|fault| self.problem(key, fault)).ok()
    }

    /// Checks a whole number.
    pub(in crate::config) fn number(&mut self, key: &KeyPath, number: &NumberRule, raw: Option<i64>) -> u64 {
        let value = raw.unwrap_or(number.default);
        if !(number.min..=number.max).contains(&value) {
            self.problem(key, format!("must be {}, found {value}", number.needed()));
        }
        value.unsigned_abs()
    }

    /// Checks a keyword.
    pub(in crate::config) fn keyword<K: Keyword>(&mut self, key: &KeyPath, raw: &str) -> Option<K> {
        let choice = K::from_word(raw);
        if choice.is_none() {
            let words: Vec<&str> = K::WORDS.iter().map(|(word, _)| *word).collect();
            let (last, others) = words.split_last().unwrap_or((&"", &[]));
            let nearest = nearest(raw, words.iter().copied(), 1);
            let nearest =
                nearest.first().map_or_else(String::new, |word| format!(", the nearest is `{word}`"));
            let allowed = format!("{} or {last}", others.join(", "));
            self.problem(key, format!("must be {allowed}, found `{}`{nearest}", redact(raw)));
        }
        choice
    }

    /// Checks a path, relative to the folder of the config; `of` says what it leads to.
    pub(super) fn path(&mut self, key: &str, of: &str, raw: &str) -> PathBuf {
        if raw.is_empty() || raw.contains('\0') {
            self.unfit(&KeyPath::of(key), &format!("the path of {of}"), raw);
        }
        self.folder.join(raw)
    }

    /// Returns the entries of a table with their keys, in the order of the file.
    pub(super) fn entries<T>(&self, key: &KeyPath, table: BTreeMap<String, T>) -> Vec<(KeyPath, String, T)> {
        let entries = table.into_iter().map(|(name, value)| (key.child(&name), name, value));
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(|(entry, ..)| self.sources.offset(entry));
        entries
    }

    /// Returns the elements of a list that `check` takes; it gets the key of each.
    pub(super) fn elements<T>(
        &mut self,
        key: &KeyPath,
        raw: &[String],
        mut check: impl FnMut(&mut Self, &KeyPath, &str) -> Option<T>,
    ) -> Vec<T> {
        let elements = raw.iter().enumerate();
        elements.filter_map(|(index, raw)| check(self, &key.element(index), raw)).collect()
    }

    /// As [`Validator::elements`], with a problem for an empty list.
    pub(super) fn some<T>(
        &mut self,
        key: &KeyPath,
        element: &str,
        raw: &[String],
        check: impl FnMut(&mut Self, &KeyPath, &str) -> Option<T>,
    ) -> Vec<T> {
        if raw.is_empty() {
            self.problem(key, format!("needs at least one {element}, found an empty list"));
        }
        self.elements(key, raw, check)
    }

    /// Checks the elements of a list; `parse` says what is wrong with one, after its text.
    pub(in crate::config) fn list<T>(
        &mut self,
        key: &KeyPath,
        raw: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.elements(key, raw, |validator, entry, text| {
            let fault =
                |why: String| validator.problem_in(key, entry, format!("has `{}`{why}", redact(text)));
            parse(text).map_err(fault).ok()
        })
    }

    /// Reads a secret; `None` after a problem.
    pub(super) fn secret(&mut self, key: &KeyPath, raw: &str) -> Option<Secret> {
        let secret = self.good(key, Secret::read(raw, &self.folder, self.environment))?;
        let in_file = matches!(self.sources.origin(key), ValueOrigin::File { .. });
        if in_file && secret.source == SecretSource::Literal {
            self.literals.push(key.to_string());
        }
        Some(secret)
    }

    /// Reads a secret that seals; `None` after a problem.
    pub(super) fn sealing_secret(&mut self, key: &KeyPath, raw: &str) -> Option<Secret> {
        let secret = self.secret(key, raw)?;
        if secret.is_broken_key() {
            self.problem(key, BROKEN_KEY);
        }
        Some(secret)
    }

    /// Checks paths with their secrets.
    pub(super) fn rules(&mut self, key: &KeyPath, raw: &RawRules) -> AuthRules {
        let mut rules = Vec::with_capacity(raw.len());
        for (text, secrets) in raw {
            let entry = key.child(text);
            let pattern = match PathPattern::new(text) {
                Ok(pattern) => pattern,
                // Path and secret may be swapped: a text that does not look like a path is not shown.
                Err(why @ InvalidPath::NotAbsolute) => {
                    self.problem_in(key, &entry, format!("has a text that is not a path: {why}"));
                    continue;
                }
                Err(why) => {
                    self.problem_in(key, &entry, format!("has `{}`: {why}", redact(text)));
                    continue;
                }
            };
            // Other keys are compared with a header; keys of the proxy may be passphrases.
            let seals = *key != KeyPath::of("auth.rules") || pattern.is_exactly(REMOTE_PATH);
            let secrets = self.some(&entry, "secret", secrets, |validator, entry, raw| {
                let secret = validator.secret(entry, raw)?;
                if !seals && !secret.fits_into_a_header() {
                    let fault = "matches no header: write the key without `Bearer`, control characters, and spaces \
                                 around it";
                    validator.problem(entry, fault);
                }
                Some(secret)
            });
            rules.push((pattern, secrets));
        }
        AuthRules::new(rules)
    }

    /// Checks a list of paths.
    pub(super) fn patterns(&mut self, key: &KeyPath, raw: &[String]) -> PathPatterns {
        PathPatterns(self.list(key, raw, |text| PathPattern::new(text).map_err(|why| format!(": {why}"))))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{config, problems};
    use crate::config::{Log, LogFormat, LogLevel};

    fn check(text: &str, expected: &str) {
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn words_of_the_log_are_checked() {
        let config = config("[log]\nlevel = \"trace\"\nformat = \"json\"\n");
        assert_eq!(config.log, Log { level: LogLevel::Trace, format: LogFormat::Json });
        check(
            "[log]\nlevel = \"inof\"\nformat = \"xml\"\n",
            "config.toml line 2: `log.level` must be error, warn, info, debug or trace, found `inof`, the nearest \
             is `info`\n\
             config.toml line 3: `log.format` must be text or json, found `xml`",
        );
    }

    #[test]
    fn rules_are_checked_without_showing_secrets() {
        check(
            "[auth]\nrules = {\"/x\" = []}\n",
            "config.toml line 2: `auth.rules.\"/x\"` needs at least one secret, found an empty list",
        );
        check(
            "[auth.rules]\n\"canary\" = [\"/api/v1/proxy/remote\"]\n",
            "config.toml line 2: `auth.rules` has a text that is not a path: a path starts with /",
        );
        check(
            "[plugins.proxy.auth.rules]\n\"/x/../*\" = [\"canary\"]\n\"/y\" = [\"canary\",\n\"\"]\n",
            "config.toml line 2: `plugins.proxy.auth.rules` has `/x/../*`: a path has no `..`, no `//` and no part `.`\n\
             config.toml line 4: `plugins.proxy.auth.rules.\"/y\"[1]` has an empty secret",
        );
        check(
            "[plugins.proxy]\nwhite_list = [\"/a\",\n\"api*\"]\n",
            "config.toml line 3: `plugins.proxy.white_list` has `api*`: a path starts with /",
        );
    }

    #[test]
    fn keys_that_nothing_can_be_sealed_with_are_refused_without_showing_them() {
        let why = "starts like a generated key, but does not have the 43 characters of one after `fxk1_`: make one with \
                   `framex-host keygen`";
        check(
            "[plugins.proxy.auth]\nrules = {\"/api/v1/proxy/*\" = [\"k\", \"fxk1_canary\"]}\n",
            &format!(
                "config.toml line 2: `plugins.proxy.auth.rules` has a key for `/api/v1/proxy/remote` that {why}"
            ),
        );
        check(
            "[auth]\nrules = {\"/api/v1/proxy/remote\" = [\"fxk1_canary\"]}\n",
            &format!("config.toml line 2: `auth.rules` has a key for `/api/v1/proxy/remote` that {why}"),
        );
        check(
            "[plugins.proxy.proxy_urls]\n\"http://a\" = { key = \"fxk1_canary\" }\n",
            &format!("config.toml line 2: `plugins.proxy.proxy_urls.\"http://a\".key` {why}"),
        );
        // What only comes in a header is compared as it is.
        config("[auth]\nrules = {\"/x\" = [\"fxk1_short\"]}\n");
    }

    #[test]
    fn each_fault_of_a_path_has_its_sentence() {
        for (path, sentence) in [
            ("/a*", "a star is allowed only at the end, after a slash, as in /api/v1/*"),
            ("/a%20b", "a path has no percent-encoded bytes"),
            ("/a//b", "a path has no `..`, no `//` and no part `.`"),
            ("/a b", "a path has only visible ASCII characters, without ? and #"),
        ] {
            for key in ["white_list = [\"PATH\"]", "auth.rules.\"PATH\" = [\"k\"]"] {
                let name = if key.starts_with('w') { "white_list" } else { "auth.rules" };
                let expected = format!("config.toml line 2: `plugins.proxy.{name}` has `{path}`: {sentence}");
                check(&format!("[plugins.proxy]\n{}\n", key.replace("PATH", path)), &expected);
            }
        }
    }

    #[test]
    fn keys_that_no_header_carries_are_refused_and_not_shown() {
        let never =
            "matches no header: write the key without `Bearer`, control characters, and spaces around it";
        for key in [
            "Bearer canary",
            "bearer canary",
            " canary",
            "canary ",
            "can\\tary",
            "canary\\n",
            "\\u007fcanary",
        ] {
            let rules = |path: &str| format!("rules = {{ \"{path}\" = [\"k\", \"{key}\"] }}\n");
            let expected = format!("config.toml line 2: `auth.rules.\"/api/*\"[1]` {never}");
            check(&format!("[auth]\n{}", rules("/api/*")), &expected);
            check(&format!("[plugins.proxy.auth]\n{}", rules("/api/*")), "");
            check(&format!("[auth]\n{}", rules("/api/v1/proxy/remote")), "");
        }
        check(
            "[auth]\nrules = { \"/health\" = [\"Basic dXNlcjpwYXNz\", \"two words\", \"Bearer\", \"schlüssel\"] }\n",
            "",
        );
    }
}
