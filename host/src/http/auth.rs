//! Keys of plain HTTP requests: `Authorization`, bare or as `Bearer`.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Problem;
use crate::config::{AuthRules, Secret};

/// Lets a request through if no rule protects its path, or it carries one of the rule's keys.
///
/// `path` is the one that is dispatched on. Keys are compared in constant time, and all of them.
pub(super) fn check(rules: &AuthRules, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(keys) = rules.keys_for(path) else { return Ok(()) };
    if carries(headers, keys) { Ok(()) } else { Err(Problem::unauthenticated()) }
}

/// Whether a request carries one of the keys.
pub(super) fn carries(headers: &HeaderMap, keys: &[Secret]) -> bool {
    let presented = headers.get(AUTHORIZATION).map_or(&[][..], |value| key_of(value.as_bytes()));
    keys.iter().fold(false, |found, key| key.matches(presented) | found)
}

/// The key of an `Authorization` header: what follows `Bearer `, or all of it.
fn key_of(value: &[u8]) -> &[u8] {
    const SCHEME: &[u8] = b"bearer ";
    match value.split_at_checked(SCHEME.len()) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(SCHEME) => key.trim_ascii(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_bare_or_as_bearer() {
        for (value, key) in
            [("k", "k"), ("Bearer k", "k"), ("bearer  k", "k"), ("Basic k", "Basic k"), ("", "")]
        {
            assert_eq!(key_of(value.as_bytes()), key.as_bytes(), "{value:?}");
        }
    }
}
