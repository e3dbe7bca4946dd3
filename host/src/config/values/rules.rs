//! Rules: the paths that they cover, and the secrets that protect them.

use std::fmt;

use super::Secret;
use crate::api::{FUNCTIONS_PATH, HEALTH_PATH, OPENAPI_PATH, READY_PATH, REMOTE_PATH};
use crate::base::FunctionName;

/// The fault of a rule's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPath {
    /// Not a path that starts with a slash.
    #[error("a path starts with /")]
    NotAbsolute,
    /// A star that would not do what it seems to.
    #[error("a star is allowed only at the end, after a slash, as in /api/v1/*")]
    Star,
    /// An encoded byte: rules are compared with decoded paths.
    #[error("a path has no percent-encoded bytes")]
    Percent,
    /// `..`, `//` or a part `.`, which no normalised path has: the rule would cover nothing.
    #[error("a path has no `..`, no `//` and no part `.`")]
    NotNormal,
    /// A character that no path of a request has.
    #[error("a path has only visible ASCII characters, without ? and #")]
    Character,
}

/// A path, or every path below one: `/api/v1/functions`, `/api/v1/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    /// The path, or what the paths start with, up to and with the last slash.
    text: String,
    below: bool,
}

impl PathPattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// [`InvalidPath`] if no normalised path of a request can match.
    pub fn new(text: &str) -> Result<Self, InvalidPath> {
        if !text.starts_with('/') {
            return Err(InvalidPath::NotAbsolute);
        }
        let prefix = text.strip_suffix("/*").map(|prefix| format!("{prefix}/"));
        let below = prefix.is_some();
        let text = prefix.unwrap_or_else(|| text.to_owned());
        if text.contains('*') {
            return Err(InvalidPath::Star);
        }
        if text.contains('%') {
            return Err(InvalidPath::Percent);
        }
        if text.contains("..") || text.contains("//") || text.split('/').any(|part| part == ".") {
            return Err(InvalidPath::NotNormal);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#')) {
            return Err(InvalidPath::Character);
        }
        Ok(Self { text, below })
    }

    /// Returns true if it covers the path of a request, which is decoded and normalised.
    ///
    /// `/api/v1/*` covers `/api/v1/x`, `/api/v1/x/y` and `/api/v1/`, not `/api/v1` nor `/api/v10`.
    pub fn covers(&self, path: &str) -> bool {
        if self.below { path.starts_with(&self.text) } else { path == self.text }
    }

    /// Returns true if it names exactly this path.
    pub fn is_exactly(&self, path: &str) -> bool {
        !self.below && path == self.text
    }

    /// Returns true if it covers any path of the public listener.
    pub(in crate::config) fn covers_something(&self) -> bool {
        let paths = [FUNCTIONS_PATH, OPENAPI_PATH, READY_PATH, HEALTH_PATH];
        self.covers_calls() || paths.iter().any(|path| self.covers(path))
    }

    /// Returns true if it covers a path on which functions are called: that of a function, or [`REMOTE_PATH`].
    pub fn covers_calls(&self) -> bool {
        let functions = format!("{FUNCTIONS_PATH}/");
        let name = self.text.strip_prefix(&functions).filter(|_| !self.below);
        let is_of_one = name.is_some_and(|name| FunctionName::new(name).is_ok());
        self.covers_all_calls() || is_of_one || self.covers(REMOTE_PATH)
    }

    /// Returns true if it covers the paths of all functions.
    pub(in crate::config) fn covers_all_calls(&self) -> bool {
        self.below && format!("{FUNCTIONS_PATH}/").starts_with(&self.text)
    }

    /// Sorts exact paths first, then longer prefixes before shorter ones: the first that covers decides.
    fn rank(&self) -> (bool, std::cmp::Reverse<usize>) {
        (self.below, std::cmp::Reverse(self.text.len()))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(if self.below { "*" } else { "" })
    }
}

/// A list of patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathPatterns(pub(in crate::config) Vec<PathPattern>);

impl PathPatterns {
    /// Returns true if one of them covers the path.
    pub fn covers(&self, path: &str) -> bool {
        self.0.iter().any(|pattern| pattern.covers(path))
    }

    /// Returns the patterns, as they were written.
    pub fn iter(&self) -> impl Iterator<Item = &PathPattern> {
        self.0.iter()
    }
}

/// Paths with the secrets that protect them. `Debug` shows only the paths.
#[derive(Debug, Clone, Default)]
pub struct AuthRules(Vec<(PathPattern, Vec<Secret>)>);

impl AuthRules {
    /// Takes the rules in any order; each has at least one secret.
    pub(in crate::config) fn new(mut rules: Vec<(PathPattern, Vec<Secret>)>) -> Self {
        rules.sort_by_key(|(pattern, _)| pattern.rank());
        Self(rules)
    }

    /// Returns the secrets that open `path`, which is decoded and normalised: by its own rule, otherwise by the longest
    /// prefix. `None` if no rule protects it; never an empty list.
    pub fn keys_for(&self, path: &str) -> Option<&[Secret]> {
        self.0.iter().find(|(pattern, _)| pattern.covers(path)).map(|(_, keys)| keys.as_slice())
    }

    /// Returns the secrets of the rule for exactly `path`.
    pub fn keys_of(&self, path: &str) -> Option<&[Secret]> {
        self.0.iter().find(|(pattern, _)| pattern.is_exactly(path)).map(|(_, keys)| keys.as_slice())
    }

    /// Returns the rules, in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = (&PathPattern, &[Secret])> {
        self.0.iter().map(|(pattern, keys)| (pattern, keys.as_slice()))
    }

    /// Returns true without rules.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Environment;

    #[test]
    fn patterns_cover_on_segment_boundaries() {
        let check = |pattern: &str, path: &str, expected: bool| {
            let covers = PathPattern::new(pattern).unwrap().covers(path);
            assert_eq!(covers, expected, "{pattern} {path}");
        };
        for (path, expected) in [
            ("/api/v1/x", true),
            ("/api/v1/x/y", true),
            ("/api/v1/", true),
            ("/api/v1", false),
            ("/api/v10", false),
            ("/api/v10/x", false),
            ("/API/v1/x", false),
            ("/other/api/v1/x", false),
            ("", false),
        ] {
            check("/api/v1/*", path, expected);
        }
        check("/*", "/", true);
        check("/*", "/x/y", true);
        check("/*", "", false);
        check("/api", "/api", true);
        check("/api", "/api/", false);
        check("/api", "/api/x", false);
        check("/.well-known/*", "/.well-known/x", true);
    }

    #[test]
    fn patterns_that_could_mislead_are_refused() {
        let check = |text: &str, expected: InvalidPath| {
            assert_eq!(PathPattern::new(text), Err(expected), "{text}");
        };
        for text in ["", "api", "*", "http://host/api"] {
            check(text, InvalidPath::NotAbsolute);
        }
        for text in ["/api*", "/*/x", "/a*/b", "/api/**", "/*/*"] {
            check(text, InvalidPath::Star);
        }
        check("/api/%2e", InvalidPath::Percent);
        for text in ["/api/../x", "/..", "/a//b", "//", "//*", "/api//*", "/./a", "/a/."] {
            check(text, InvalidPath::NotNormal);
        }
        for text in ["/a b", "/a?b", "/a#b", "/ä", "/a\0", "/a\n"] {
            check(text, InvalidPath::Character);
        }
    }

    #[test]
    fn exact_rules_come_first_then_the_longest_prefix() {
        let secret = |text: &str| Secret::read(text, Path::new(""), &Environment::default()).unwrap();
        let rule = |pattern: &str| (PathPattern::new(pattern).unwrap(), vec![secret(pattern)]);
        let patterns = ["/*", "/api/v1/*", "/api/*", "/api/v1/x", "/api/v2/*", "/api/v2/"];
        let rules = AuthRules::new(patterns.map(rule).to_vec());
        let check = |path: &str, expected: Option<&str>| {
            let found = rules.keys_for(path).map(|keys| keys[0].expose());
            assert_eq!(found, expected, "{path}");
        };
        check("/api/v1/x", Some("/api/v1/x"));
        check("/api/v2/", Some("/api/v2/"));
        check("/api/v1/x/y", Some("/api/v1/*"));
        check("/api/v1", Some("/api/*"));
        check("/api/v10/x", Some("/api/*"));
        check("/api", Some("/*"));
        check("relative", None);
        assert!(rules.keys_of("/api/v1/x").is_some());
        assert!(rules.keys_of("/api/v1/y").is_none());
        assert!(AuthRules::default().keys_for("/api").is_none());
    }
}
