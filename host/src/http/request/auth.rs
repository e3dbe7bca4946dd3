//! Keys of plain HTTP requests: `Authorization`, bare or as `Bearer`. Who asks, by key or by the name in the
//! certificate of their connection, and what they may.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::site;
use crate::base::{Caller, CertificateName, Credential, Failure, FunctionName, RequestId};
use crate::config::{Access, PresentedKey, Secret};
use crate::http::response::Problem;

/// The proof that let a request in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A key: the sender chose to show it.
    Key,
    /// The certificate of the connection, which a browser shows by itself.
    Certificate,
    /// Nothing: the path is open.
    Nothing,
}

/// Returns the caller of a path, and the proof; refuses a request without a key that the path needs.
///
/// With callers, the paths of functions need a key: that of a caller is always enough, and that of the path's rule opens
/// the path without a caller's name. A request without a key belongs to the caller whose certificate the connection has. Other paths need a key of their rule, if they have one.
///
/// `path` is the one that is dispatched on. Keys are compared in constant time, and all of them.
pub(crate) fn admit(
    access: &Access,
    path: &str,
    headers: &HeaderMap,
    certificate: Option<&CertificateName>,
) -> Result<(Caller, Proof), Problem> {
    let rule = access.rules.keys_for(path);
    let callers = &access.callers;
    if callers.is_empty() || !Access::is_of_functions(path) {
        let (credential, proof) = match rule {
            Some(keys) => (credential_of(headers, keys)?, Proof::Key),
            None => (certificate.cloned().map_or(Credential::None, Credential::Certificate), Proof::Nothing),
        };
        return Ok((Caller::Client(credential), proof));
    }
    let presented = presented(headers);
    let opened = rule.map(|keys| is_one_of(&presented, keys));
    // A wrong key is refused even with a good certificate.
    let (caller, proof) = if headers.contains_key(AUTHORIZATION) {
        (callers.of_key(&presented), Proof::Key)
    } else {
        (certificate.and_then(|name| callers.of_certificate(name)), Proof::Certificate)
    };
    match (caller, opened) {
        (Some(caller), _) => Ok((Caller::Named(Arc::clone(caller)), proof)),
        (None, Some(true)) => Ok((Caller::Unnamed, Proof::Key)),
        (None, Some(false) | None) => Err(Problem::without_key(headers.contains_key(AUTHORIZATION))),
    }
}

/// Refuses what a page of another site can have had sent, unless a key came with it. A page does not know any key, but
/// reaches an open listener, and uses the certificate of its browser.
pub(crate) fn check_page(access: &Access, proof: Proof, head: &Parts) -> Result<(), Problem> {
    let names = access.names.as_deref();
    match (proof, names) {
        (Proof::Key, _) | (Proof::Nothing, None) => Ok(()),
        (Proof::Nothing, Some(names)) => Ok(site::check(names, head)?),
        (Proof::Certificate, names) => Ok(site::check_origin(names.unwrap_or_default(), head)?),
    }
}

/// Returns true if a request shows a key of any rule or caller, or a caller's certificate.
pub(crate) fn is_known(access: &Access, headers: &HeaderMap, certificate: Option<&CertificateName>) -> bool {
    if !headers.contains_key(AUTHORIZATION) {
        return certificate.is_some_and(|name| access.callers.of_certificate(name).is_some());
    }
    let presented = presented(headers);
    let of_rules = access.rules.iter().fold(false, |found, (_, keys)| is_one_of(&presented, keys) | found);
    access.callers.of_key(&presented).is_some() | of_rules
}

/// Lets a call of a function pass, or refuses it, and notes who asked for what where they have a name.
pub(crate) fn authorise(caller: &Caller, function: &FunctionName, id: RequestId) -> Result<(), Box<Failure>> {
    let verdict = caller.authorise(function);
    if let Some(caller) = caller.name() {
        tracing::debug!(caller, %function, request_id = %id, allowed = verdict.is_ok(), "a caller calls");
    }
    verdict
}

/// Returns true if a request carries one of the keys.
pub(crate) fn carries(headers: &HeaderMap, keys: &[Secret]) -> bool {
    is_one_of(&presented(headers), keys)
}

/// Tells apart senders that present one of the keys.
fn credential_of(headers: &HeaderMap, keys: &[Secret]) -> Result<Credential, Problem> {
    let presented = presented(headers);
    if is_one_of(&presented, keys) {
        Ok(Credential::Key(presented.tag()))
    } else {
        Err(Problem::without_key(headers.contains_key(AUTHORIZATION)))
    }
}

fn is_one_of(presented: &PresentedKey, keys: &[Secret]) -> bool {
    keys.iter().fold(false, |found, key| key.is(presented) | found)
}

/// Returns the key of a request; without one, a value that equals no secret.
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
