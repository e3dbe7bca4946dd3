//! Checks single values, and collects the problems.

use std::path::PathBuf;

use crate::base::nearest;

use crate::api::REMOTE_PATH;
use crate::config::key::{KeyPath, redact};
use crate::config::keys::RawRules;
use crate::config::keys::number::NumberRule;
use crate::config::read::Sources;
use crate::config::{
    AuthRules, ConfigError, ConfigProblem, Environment, InvalidPath, Keyword, PathPattern, PathPatterns,
    Secret, SecretSource, ValueOrigin,
};

/// Checks values, and collects the problems: each with the origin of its value, its offset in the file, and one sentence.
pub(in crate::config) struct Validator<'a> {
    pub(in crate::config) sources: &'a Sources,
    pub(in crate::config) environment: &'a Environment,
    /// The folder that relative paths start from, absolute.
    pub(in crate::config) folder: PathBuf,
    problems: Vec<(ValueOrigin, usize, String)>,
    /// The keys of secrets that are literals in the file.
    pub(in crate::config) literals: Vec<String>,
}

impl<'a> Validator<'a> {
    pub(super) fn new(sources: &'a Sources, environment: &'a Environment) -> Result<Self, ConfigError> {
        let mut folder = std::path::absolute(sources.file())
            .map_err(|error| ConfigError::Unreadable(sources.file().to_owned(), error))?;
        folder.pop();
        Ok(Self { sources, environment, folder, problems: Vec::new(), literals: Vec::new() })
    }

    /// Returns `built` if there are no problems.
    pub(super) fn finish<T>(self, built: T) -> Result<T, ConfigError> {
        let mut problems = self.problems;
        if problems.is_empty() {
            return Ok(built);
        }
        problems.sort();
        let problems = problems.into_iter().map(|(origin, _, text)| ConfigProblem { origin, text });
        Err(ConfigError::Invalid(problems.collect()))
    }

    /// Adds a problem; after one, [`Validator::finish`] drops the values.
    pub(super) fn problem(&mut self, key: &KeyPath, text: String) {
        self.problems.push((self.sources.origin(key), self.sources.offset(key), text));
    }

    /// Adds a problem of a variable that does not set a key.
    pub(super) fn problem_of_variable(&mut self, name: &str, text: String) {
        self.problems.push((ValueOrigin::Variable(name.to_owned()), 0, text));
    }

    /// Checks a whole number.
    pub(in crate::config) fn number(&mut self, key: &KeyPath, number: &NumberRule, raw: Option<i64>) -> u64 {
        let value = raw.unwrap_or(number.default);
        if !(number.min..=number.max).contains(&value) {
            self.problem(key, format!("`{key}` must be {}, found {value}", number.needed()));
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
            self.problem(key, format!("`{key}` must be {allowed}, found `{}`{nearest}", redact(raw)));
        }
        choice
    }

    /// Adds a problem if a list is empty.
    pub(super) fn some(&mut self, key: &KeyPath, element: &str, is_empty: bool) {
        if is_empty {
            self.problem(key, format!("`{key}` needs at least one {element}, found an empty list"));
        }
    }

    /// Checks a path, relative to the folder of the config; `of` says what it leads to.
    pub(super) fn path(&mut self, key: &str, of: &str, raw: &str) -> PathBuf {
        if raw.is_empty() || raw.contains('\0') {
            let text = format!("`{key}` must be the path of {of}, found `{}`", redact(raw));
            self.problem(&KeyPath::of(key), text);
        }
        self.folder.join(raw)
    }

    /// Checks the elements of a list; `parse` says what is wrong with one, after its text.
    pub(super) fn list<T>(
        &mut self,
        key: &KeyPath,
        raw: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut values = Vec::with_capacity(raw.len());
        for (index, text) in raw.iter().enumerate() {
            match parse(text) {
                Ok(value) => values.push(value),
                Err(why) => {
                    self.problem(&key.element(index), format!("`{key}` has `{}`{why}", redact(text)));
                }
            }
        }
        values
    }

    /// Reads a secret; `None` after a problem.
    pub(super) fn secret(&mut self, key: &KeyPath, raw: &str) -> Option<Secret> {
        match Secret::read(raw, &self.folder, self.environment) {
            Ok(secret) => {
                let in_file = matches!(self.sources.origin(key), ValueOrigin::File { .. });
                if in_file && *secret.source() == SecretSource::Literal {
                    self.literals.push(key.to_string());
                }
                Some(secret)
            }
            Err(why) => {
                self.problem(key, format!("`{key}` {why}"));
                None
            }
        }
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
                    self.problem(&entry, format!("`{key}` has a text that is not a path: {why}"));
                    continue;
                }
                Err(why) => {
                    self.problem(&entry, format!("`{key}` has `{}`: {why}", redact(text)));
                    continue;
                }
            };
            self.some(&entry, "secret", secrets.is_empty());
            // Other keys are compared with a header; keys of the proxy may be passphrases.
            let seals = *key != KeyPath::of("auth.rules") || pattern.is_exactly(REMOTE_PATH);
            let element = |(index, raw): (usize, &String)| {
                let entry = entry.element(index);
                let secret = self.secret(&entry, raw)?;
                if !seals && !secret.fits_into_a_header() {
                    let text = "matches no header: write the key without `Bearer`, control characters, and spaces \
                                around it";
                    self.problem(&entry, format!("`{entry}` {text}"));
                }
                Some(secret)
            };
            let secrets = secrets.iter().enumerate().filter_map(element).collect();
            rules.push((pattern, secrets));
        }
        AuthRules::new(rules)
    }

    /// Checks a list of paths.
    pub(super) fn patterns(&mut self, key: &KeyPath, raw: &[String]) -> PathPatterns {
        PathPatterns::new(
            self.list(key, raw, |text| PathPattern::new(text).map_err(|why| format!(": {why}"))),
        )
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
