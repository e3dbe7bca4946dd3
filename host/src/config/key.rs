//! Names of keys, and texts of the user, as errors show them.

use std::fmt;

/// Longest part of the user's own text that an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// The path to one value: names of tables, then of the key. `[0]` is an index in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(Vec<String>);

impl KeyPath {
    /// Reads a dotted key without quotes.
    pub(super) fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(str::to_owned).collect())
    }

    pub(super) fn from_parts(parts: Vec<String>) -> Self {
        Self(parts)
    }

    pub(super) fn child(&self, name: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(name.to_owned());
        Self(parts)
    }

    /// Returns the path of an element of a list, counted from 0.
    pub(super) fn element(&self, index: usize) -> Self {
        self.child(&format!("[{index}]"))
    }

    pub(super) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    pub(super) fn parts(&self) -> &[String] {
        &self.0
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Returns the dotted key without quotes, to look up a known key, not to show.
    pub(super) fn dotted(&self) -> String {
        self.0.join(".")
    }

    /// Returns true if the values below may be secrets, or URLs with one inside: errors do not repeat them.
    pub(super) fn is_sensitive(&self) -> bool {
        let parts: Vec<&str> = self.0.iter().map(String::as_str).collect();
        matches!(
            parts[..],
            ["auth" | "plugins", ..] | ["admin"] | ["admin", "token", ..] | ["server", "tls", ..]
        )
    }

    /// Returns true if it lies in the table of a plugin, whose types the host does not know.
    pub(super) fn is_of_plugin(&self) -> bool {
        self.0.len() > 2 && self.0[0] == "plugins" && self.0[1] != "proxy"
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        for (index, part) in self.0.iter().enumerate() {
            let is_index = part.starts_with('[') && part.ends_with(']');
            if index > 0 && !is_index {
                f.write_str(".")?;
            }
            if is_index || (!part.is_empty() && part.bytes().all(bare)) {
                f.write_str(part)?;
            } else {
                write!(f, "\"{}\"", redact(part))?;
            }
        }
        Ok(())
    }
}

/// Returns the user's text as an error repeats it: bounded, on one line, without the parts of a URL that may be secret:
/// user and password, path, query and fragment.
pub(super) fn redact(text: &str) -> String {
    let without_password = text.rsplit_once('@').map(|(before, host)| {
        let scheme = before.find("://").map_or("", |end| &before[..end + 3]);
        format!("{scheme}[redacted]@{host}")
    });
    let text = without_password.as_deref().unwrap_or(text);
    let end_of_host = text.find("://").and_then(|scheme| {
        let host = scheme + 3;
        text[host..].find(['/', '?', '#']).map(|length| host + length + 1)
    });
    let without_path =
        end_of_host.filter(|end| *end < text.len()).map(|end| format!("{}[redacted]", &text[..end]));
    let text = without_path.as_deref().unwrap_or(text);
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_in_toml() {
        let rules = KeyPath::of("plugins.proxy.auth.rules");
        let element = rules.child("/api/v1/*").element(1);
        assert_eq!(element.to_string(), r#"plugins.proxy.auth.rules."/api/v1/*"[1]"#);
        assert_eq!(KeyPath::of("a").child("").to_string(), r#"a."""#);
    }

    #[test]
    fn repeated_text_has_no_password_and_no_control_characters_and_ends() {
        let check = |text: &str, expected: &str| assert_eq!(redact(text), expected);
        check("http://user:pass/word@host:1", "http://[redacted]@host:1");
        check("http://user:p@ss@host:1", "http://[redacted]@host:1");
        check("user:password@host", "[redacted]@host");
        check("http://host:1/secret", "http://host:1/[redacted]");
        check("http://host?key=secret", "http://host?[redacted]");
        check("http://host/", "http://host/");
        check("http://user:password@host/secret#x", "http://[redacted]@host/[redacted]");
        check("a\n\u{1b}[31m", "a\\n\\u{1b}[31m");
        check(&"x".repeat(81), &format!("{}…", "x".repeat(80)));
        check(&"x".repeat(80), &"x".repeat(80));
    }
}
