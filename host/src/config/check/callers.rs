//! Checks `[auth.callers]`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{CertificateName, FunctionPattern, FunctionPatterns, NamedCaller};

use super::validator::Validator;
use crate::config::key::{KeyPath, redact};
use crate::config::keys::RawCaller;
use crate::config::{Callers, ConfiguredCaller, Secret};

const NAME_BYTES_MAX: usize = 64;
/// Longest name of a certificate: a URI may be long.
const CERTIFICATE_BYTES_MAX: usize = 1024;

/// The keys of callers, each with its key path.
pub(in crate::config) type CallerKeys = Vec<(KeyPath, Secret)>;

impl Validator<'_> {
    /// Checks `auth.callers`, and returns their keys with key paths as well. `has_client_ca` says that clients are asked
    /// for certificates.
    pub(super) fn callers(
        &mut self,
        raw: BTreeMap<String, RawCaller>,
        has_client_ca: bool,
    ) -> (Callers, CallerKeys) {
        let table = KeyPath::of("auth.callers");
        if raw.is_empty() {
            // To remove the last caller from the table must not open all functions.
            self.problem(
                &table,
                "is empty: name a caller, or remove the table, so that every client may call",
            );
        }
        let mut callers: Vec<ConfiguredCaller> = Vec::with_capacity(raw.len());
        let mut known_keys = CallerKeys::new();
        for (name, caller) in raw {
            let entry = table.child(&name);
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(allowed) {
                let needed = format!("1 to {NAME_BYTES_MAX} characters of A-Z a-z 0-9 _ -");
                let fault = format!("must name callers in {needed}, found `{}`", redact(&name));
                self.problem_in(&table, &entry, fault);
            }
            if caller.keys.is_none() && caller.certificates.is_none() {
                self.problem(&entry, "needs the key `keys` or `certificates`");
            }
            if caller.functions.is_none() {
                self.problem(&entry, "needs the key `functions`");
            }
            let certificates = caller.certificates.map(|raw| {
                let entry = entry.child("certificates");
                if !has_client_ca {
                    let needed = "`server.tls.client_ca`: clients are not asked for certificates";
                    self.problem(&entry, format!("has no effect without {needed}"));
                }
                self.certificates_of_caller(&entry, &raw, &callers)
            });
            let keys =
                caller.keys.map(|raw| self.keys_of_caller(&entry.child("keys"), &raw, &mut known_keys));
            let functions = caller.functions.unwrap_or_default();
            let functions = self.function_patterns(&entry.child("functions"), &functions);
            callers.push(ConfiguredCaller {
                caller: Arc::new(NamedCaller { name: name.into(), functions }),
                keys: keys.unwrap_or_default(),
                certificates: certificates.unwrap_or_default(),
            });
        }
        (Callers(callers), known_keys)
    }

    fn keys_of_caller(&mut self, key: &KeyPath, raw: &[String], known_keys: &mut CallerKeys) -> Vec<Secret> {
        let of_others = known_keys.len();
        self.some(key, "secret", raw, |validator, entry, raw| {
            let secret = validator.sealing_secret(entry, raw)?;
            if !secret.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
                let fault = "must be printable ASCII characters without spaces: it is sent in a header";
                validator.problem(entry, fault);
            }
            if let Some((other, _)) = known_keys[..of_others].iter().find(|(_, other)| *other == secret) {
                validator.problem(entry, format!("is the same as `{other}`: a key is of one caller"));
            }
            known_keys.push((entry.clone(), secret.clone()));
            Some(secret)
        })
    }

    /// Errors do not repeat the text: it may be a misplaced key.
    fn certificates_of_caller(
        &mut self,
        key: &KeyPath,
        raw: &[String],
        others: &[ConfiguredCaller],
    ) -> Vec<CertificateName> {
        self.some(key, "name", raw, |validator, entry, name| {
            let fits = (1..=CERTIFICATE_BYTES_MAX).contains(&name.len());
            if !fits || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                let fault = format!(
                    "must be the first DNS name of a certificate, or else its first URI: 1 to \
                     {CERTIFICATE_BYTES_MAX} printable ASCII characters without spaces"
                );
                validator.problem(entry, fault);
            }
            let name = CertificateName::of_text(name.to_owned());
            if let Some(other) = others.iter().find(|other| other.certificates.contains(&name)) {
                let other = &other.caller.name;
                let fault = format!("is also of `auth.callers.{other}`: a certificate is of one caller");
                validator.problem(entry, fault);
            }
            Some(name)
        })
    }

    /// Errors do not repeat the text: it may be a misplaced key.
    fn function_patterns(&mut self, key: &KeyPath, raw: &[String]) -> FunctionPatterns {
        FunctionPatterns::new(self.elements(key, raw, |validator, entry, text| {
            let pattern = FunctionPattern::new(text).map_err(|why| format!("is not a function: {why}"));
            validator.good(entry, pattern)
        }))
    }
}

#[cfg(test)]
mod tests;
