//! Function names: parsed once at the edge, compared as they are from then on.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a function, `crate.module.function`: 1 to 255 bytes of `[A-Za-z0-9_.-]`,
/// no empty part between dots (WIRE.md, "Plaintext"). Case counts; nothing is normalised.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionName(Arc<str>);

/// A text that is not the name of a function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a function name is 1 to 255 characters of A-Z a-z 0-9 _ - in parts joined by single dots")]
pub struct InvalidName;

impl FunctionName {
    /// Longest name in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Checks a text, without allocating for one that is refused.
    ///
    /// # Errors
    /// [`InvalidName`] for anything that is not a name.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let fits = !text.is_empty() && text.len() <= Self::BYTES_MAX && text.bytes().all(allowed);
        if fits && text.split('.').all(|part| !part.is_empty()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for FunctionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FunctionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Debug for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for FunctionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Maximum length of a plugin's name in bytes: the field of the descriptor has 64, and its last one is zero.
pub const PLUGIN_NAME_BYTES_MAX: usize = 63;

/// Returns true for a valid name of a plugin: 1 to 63 bytes of `[a-z0-9_-]`, and not `proxy`, which is the host's own
/// table in the config.
pub fn is_plugin_name(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    (1..=PLUGIN_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) && text != "proxy"
}

/// The candidates nearest to `wanted`, best first, at most `count`: what an error offers instead.
pub fn nearest<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let wanted: String = wanted.chars().take(FunctionName::BYTES_MAX).collect();
    let mut scored: Vec<(f64, &str)> = candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&wanted, candidate), candidate))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(count).map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "demo.some.example_func", "A-1._x", &"a".repeat(255)] {
            assert_eq!(FunctionName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a/b", "a%2e", "ä", "a\0", &"a".repeat(256)] {
            assert_eq!(FunctionName::new(bad), Err(InvalidName), "{bad:?}");
        }
    }

    #[test]
    fn names_of_plugins_fit_into_a_descriptor() {
        for good in ["a", "a-b_1", "proxy2", &"a".repeat(63)] {
            assert!(is_plugin_name(good), "{good}");
        }
        for bad in ["", "Demo", "a.b", "ä", "proxy", &"a".repeat(64)] {
            assert!(!is_plugin_name(bad), "{bad}");
        }
    }

    #[test]
    fn nearest_offers_what_was_meant() {
        let known = ["demo.some.example_func", "reports.flights.delays", "other"];
        assert_eq!(nearest("demo.some.exampel_func", known, 3), ["demo.some.example_func"]);
        assert!(nearest("zzz", known, 3).is_empty());
    }
}
