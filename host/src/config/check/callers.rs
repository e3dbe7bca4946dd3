//! Named callers: their keys and certificates, and the functions that they may call.

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

/// Where each key of a caller is said.
pub(in crate::config) type PlacedKeys = Vec<(KeyPath, Secret)>;

impl Validator<'_> {
    /// Checks `auth.callers`; answers where their keys are said as well. `has_client_ca` is whether clients show
    /// certificates at all.
    pub(in crate::config) fn callers(
        &mut self,
        raw: BTreeMap<String, RawCaller>,
        has_client_ca: bool,
    ) -> (Callers, PlacedKeys) {
        let table = KeyPath::of("auth.callers");
        if raw.is_empty() {
            // Whoever takes the last caller out of the table should not open all functions with it.
            let text =
                "`auth.callers` names nobody: name a caller, or take the table out and let everybody call";
            self.problem(&table, text.to_owned());
        }
        let mut callers: Vec<ConfiguredCaller> = Vec::with_capacity(raw.len());
        let mut placed = PlacedKeys::new();
        for (name, caller) in raw {
            let place = table.child(&name);
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(allowed) {
                let text = format!(
                    "`{table}` must name callers in 1 to {NAME_BYTES_MAX} characters of A-Z a-z 0-9 _ -, found `{}`",
                    redact(&name)
                );
                self.problem(&place, text);
            }
            let is_nobody = caller.keys.is_none() && caller.certificates.is_none();
            for (key, is_missing) in
                [("`keys` or `certificates`", is_nobody), ("`functions`", caller.functions.is_none())]
            {
                if is_missing {
                    self.problem(&place, format!("`{place}` needs the key {key}"));
                }
            }
            let certificates = caller.certificates.map(|raw| {
                let place = place.child("certificates");
                if !has_client_ca {
                    let text = "has no effect without `server.tls.client_ca`: clients are not asked for certificates";
                    self.problem(&place, format!("`{place}` {text}"));
                }
                self.certificates_of_caller(&place, raw, &callers)
            });
            let keys = caller.keys.map(|raw| self.keys_of_caller(&place.child("keys"), &raw, &mut placed));
            let functions =
                caller.functions.map(|raw| self.function_patterns(&place.child("functions"), &raw));
            let caller = NamedCaller { name: name.into(), functions: functions.unwrap_or_default() };
            callers.push(ConfiguredCaller {
                caller: Arc::new(caller),
                keys: keys.unwrap_or_default(),
                certificates: certificates.unwrap_or_default(),
            });
        }
        (Callers(callers), placed)
    }

    fn keys_of_caller(&mut self, key: &KeyPath, raw: &[String], placed: &mut PlacedKeys) -> Vec<Secret> {
        if raw.is_empty() {
            self.problem(key, format!("`{key}` needs at least one secret, found an empty list"));
        }
        let of_others = placed.len();
        let mut keys = Vec::with_capacity(raw.len());
        for (index, raw) in raw.iter().enumerate() {
            let place = key.element(index);
            let Some(secret) = self.secret(&place, raw) else { continue };
            if !secret.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
                let text = "must be printable ASCII characters without spaces: it is sent in a header";
                self.problem(&place, format!("`{place}` {text}"));
            }
            if secret.is_broken_key() {
                let text = "starts like a generated key and is not 43 characters long after `fxk1_`";
                self.problem(&place, format!("`{place}` {text}"));
            }
            if let Some((other, _)) = placed[..of_others].iter().find(|(_, other)| *other == secret) {
                self.problem(&place, format!("`{place}` is the same as `{other}`: a key is of one caller"));
            }
            placed.push((place, secret.clone()));
            keys.push(secret);
        }
        keys
    }

    /// What is written there is not repeated: it may be a key in the wrong place.
    fn certificates_of_caller(
        &mut self,
        key: &KeyPath,
        raw: Vec<String>,
        others: &[ConfiguredCaller],
    ) -> Vec<CertificateName> {
        if raw.is_empty() {
            self.problem(key, format!("`{key}` needs at least one name, found an empty list"));
        }
        let mut names = Vec::with_capacity(raw.len());
        for (index, name) in raw.into_iter().enumerate() {
            let place = key.element(index);
            let fits = (1..=CERTIFICATE_BYTES_MAX).contains(&name.len());
            if !fits || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                let text = format!(
                    "`{place}` must be the first DNS name of a certificate, or else its first URI: 1 to \
                     {CERTIFICATE_BYTES_MAX} printable ASCII characters without spaces"
                );
                self.problem(&place, text);
            }
            let name = CertificateName::of_text(name);
            if let Some(other) = others.iter().find(|other| other.certificates.contains(&name)) {
                let other = &other.caller.name;
                let text =
                    format!("`{place}` is also of `auth.callers.{other}`: a certificate is of one caller");
                self.problem(&place, text);
            }
            names.push(name);
        }
        names
    }

    /// What is written there is not repeated: it may be a key in the wrong place.
    fn function_patterns(&mut self, key: &KeyPath, raw: &[String]) -> FunctionPatterns {
        let mut patterns = Vec::with_capacity(raw.len());
        for (index, text) in raw.iter().enumerate() {
            match FunctionPattern::new(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(why) => {
                    let place = key.element(index);
                    self.problem(&place, format!("`{place}` is no function: {why}"));
                }
            }
        }
        FunctionPatterns::new(patterns)
    }
}

#[cfg(test)]
mod tests;
