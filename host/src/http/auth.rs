//! Keys of plain HTTP requests: `Authorization`, bare or as `Bearer`. Who asks, by key or by the name in the
//! certificate of their connection, and what they may.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Problem;
use super::door::{FUNCTIONS_PATH, OPENAPI_PATH};
use crate::base::{Caller, Credential, Failure, FunctionName, RequestId};
use crate::config::{AuthRules, Callers, PresentedKey, Secret};

/// Says who asks for a path; a request without a key that the path needs is refused.
///
/// Where there are callers, the paths of functions need a key: one of a caller is enough, whatever the rules say, and
/// one of the path's rule opens the path to nobody by name. A request without any key is one of the caller whose
/// certificate the connection has. Other paths need a key of their rule, if they have one.
///
/// `path` is the one that is dispatched on. Keys are compared in constant time, and all of them.
pub(super) fn admit(
    rules: &AuthRules,
    callers: &Callers,
    path: &str,
    headers: &HeaderMap,
    certificate: Option<&Arc<str>>,
) -> Result<Caller, Problem> {
    let rule = rules.keys_for(path);
    if callers.is_empty() || !is_of_functions(path) {
        let credential = match rule {
            Some(keys) => credential_of(&presented(headers), keys)?,
            None => certificate.map_or(Credential::None, |name| Credential::Certificate(Arc::clone(name))),
        };
        return Ok(Caller::Client(credential));
    }
    let presented = presented(headers);
    let opened = rule.map(|keys| is_one_of(&presented, keys));
    // A wrong key is wrong, whoever shows it.
    let caller = if headers.contains_key(AUTHORIZATION) {
        callers.of_key(&presented)
    } else {
        certificate.and_then(|name| callers.of_certificate(name))
    };
    match (caller, opened) {
        (Some(caller), _) => Ok(Caller::Named(Arc::clone(caller))),
        (None, Some(true)) => Ok(Caller::Unnamed),
        (None, Some(false) | None) => Err(Problem::unauthenticated()),
    }
}

/// Lets a call of a function pass, or refuses it, and notes who asked for what where they have a name.
pub(super) fn authorise(caller: &Caller, function: &FunctionName, id: RequestId) -> Result<(), Box<Failure>> {
    let verdict = caller.authorise(function);
    if let Some(caller) = caller.name() {
        tracing::debug!(caller, %function, request_id = %id, allowed = verdict.is_ok(), "a caller calls");
    }
    verdict
}

/// Whether a request carries one of the keys.
pub(super) fn carries(headers: &HeaderMap, keys: &[Secret]) -> bool {
    is_one_of(&presented(headers), keys)
}

/// What tells the sender apart that presented one of the keys.
fn credential_of(presented: &PresentedKey, keys: &[Secret]) -> Result<Credential, Problem> {
    if is_one_of(presented, keys) {
        Ok(Credential::Key(presented.tag()))
    } else {
        Err(Problem::unauthenticated())
    }
}

/// Whether functions are called or listed there.
fn is_of_functions(path: &str) -> bool {
    let below = path.strip_prefix(FUNCTIONS_PATH).is_some_and(|rest| rest.starts_with('/'));
    below || path == FUNCTIONS_PATH || path == OPENAPI_PATH
}

fn is_one_of(presented: &PresentedKey, keys: &[Secret]) -> bool {
    keys.iter().fold(false, |found, key| key.is(presented) | found)
}

/// What a request carries as its key; without one, what no secret is.
fn presented(headers: &HeaderMap) -> PresentedKey {
    let key = headers.get(AUTHORIZATION).map_or(&[][..], |value| key_of(value.as_bytes()));
    PresentedKey::new(key)
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
