//! Checks `[auth.callers]`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{CertificateName, FunctionPattern, FunctionPatterns, NamedCaller};

use super::validator::Validator;
use crate::config::key::{KeyPath, redact};
use crate::config::keys::RawCaller;
use crate::config::values::BROKEN_KEY;
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
            let text =
                "`auth.callers` is empty: name a caller, or remove the table, so that every client may call";
            self.problem(&table, text.to_owned());
        }
        let mut callers: Vec<ConfiguredCaller> = Vec::with_capacity(raw.len());
        let mut known_keys = CallerKeys::new();
        for (name, caller) in raw {
            let entry = table.child(&name);
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(allowed) {
                let text = format!(
                    "`{table}` must name callers in 1 to {NAME_BYTES_MAX} characters of A-Z a-z 0-9 _ -, found `{}`",
                    redact(&name)
                );
                self.problem(&entry, text);
            }
            let is_nobody = caller.keys.is_none() && caller.certificates.is_none();
            for (key, is_missing) in
                [("`keys` or `certificates`", is_nobody), ("`functions`", caller.functions.is_none())]
            {
                if is_missing {
                    self.problem(&entry, format!("`{entry}` needs the key {key}"));
                }
            }
            let certificates = caller.certificates.map(|raw| {
                let entry = entry.child("certificates");
                if !has_client_ca {
                    let text = "has no effect without `server.tls.client_ca`: clients are not asked for certificates";
                    self.problem(&entry, format!("`{entry}` {text}"));
                }
                self.certificates_of_caller(&entry, raw, &callers)
            });
            let keys =
                caller.keys.map(|raw| self.keys_of_caller(&entry.child("keys"), &raw, &mut known_keys));
            let functions =
                caller.functions.map(|raw| self.function_patterns(&entry.child("functions"), &raw));
            let caller = NamedCaller { name: name.into(), functions: functions.unwrap_or_default() };
            callers.push(ConfiguredCaller {
                caller: Arc::new(caller),
                keys: keys.unwrap_or_default(),
                certificates: certificates.unwrap_or_default(),
            });
        }
        (Callers(callers), known_keys)
    }

    fn keys_of_caller(&mut self, key: &KeyPath, raw: &[String], known_keys: &mut CallerKeys) -> Vec<Secret> {
        self.some(key, "secret", raw.is_empty());
        let of_others = known_keys.len();
        let mut keys = Vec::with_capacity(raw.len());
        for (index, raw) in raw.iter().enumerate() {
            let entry = key.element(index);
            let Some(secret) = self.secret(&entry, raw) else { continue };
            if !secret.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
                let text = "must be printable ASCII characters without spaces: it is sent in a header";
                self.problem(&entry, format!("`{entry}` {text}"));
            }
            if secret.is_broken_key() {
                self.problem(&entry, format!("`{entry}` {BROKEN_KEY}"));
            }
            if let Some((other, _)) = known_keys[..of_others].iter().find(|(_, other)| *other == secret) {
                self.problem(&entry, format!("`{entry}` is the same as `{other}`: a key is of one caller"));
            }
            known_keys.push((entry, secret.clone()));
            keys.push(secret);
        }
        keys
    }

    /// Errors do not repeat the text: it may be a misplaced key.
    fn certificates_of_caller(
        &mut self,
        key: &KeyPath,
        raw: Vec<String>,
        others: &[ConfiguredCaller],
    ) -> Vec<CertificateName> {
        self.some(key, "name", raw.is_empty());
        let mut names = Vec::with_capacity(raw.len());
        for (index, name) in raw.into_iter().enumerate() {
            let entry = key.element(index);
            let fits = (1..=CERTIFICATE_BYTES_MAX).contains(&name.len());
            if !fits || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                let text = format!(
                    "`{entry}` must be the first DNS name of a certificate, or else its first URI: 1 to \
                     {CERTIFICATE_BYTES_MAX} printable ASCII characters without spaces"
                );
                self.problem(&entry, text);
            }
            let name = CertificateName::of_text(name);
            if let Some(other) = others.iter().find(|other| other.certificates.contains(&name)) {
                let other = &other.caller.name;
                let text =
                    format!("`{entry}` is also of `auth.callers.{other}`: a certificate is of one caller");
                self.problem(&entry, text);
            }
            names.push(name);
        }
        names
    }

    /// Errors do not repeat the text: it may be a misplaced key.
    fn function_patterns(&mut self, key: &KeyPath, raw: &[String]) -> FunctionPatterns {
        let mut patterns = Vec::with_capacity(raw.len());
        for (index, text) in raw.iter().enumerate() {
            match FunctionPattern::new(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(why) => {
                    let entry = key.element(index);
                    self.problem(&entry, format!("`{entry}` is not a function: {why}"));
                }
            }
        }
        FunctionPatterns::new(patterns)
    }
}

#[cfg(test)]
mod tests;
