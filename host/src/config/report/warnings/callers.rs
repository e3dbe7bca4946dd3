//! Warnings about callers.

use super::access::KEY_BYTES_MIN;
use crate::api::REMOTE_PATH;
use crate::config::{Config, ConfiguredCaller, Secret};

impl Config {
    /// Returns true if any caller has this key.
    pub(super) fn is_key_of_caller(&self, key: &Secret) -> bool {
        self.callers.keys().any(|known| known == key)
    }

    pub(super) fn warn_of_callers(&self, warnings: &mut Vec<String>) {
        for ConfiguredCaller { caller, keys, .. } in self.callers.iter() {
            let short = keys.iter().filter(|key| key.expose().len() < KEY_BYTES_MIN);
            warnings.extend(short.map(|_| {
                format!(
                    "a key of `auth.callers.{}` has fewer than {KEY_BYTES_MIN} characters, and can be guessed: \
                     `framex-host keygen` makes a better one",
                    caller.name
                )
            }));
        }
        if self.callers.is_empty() {
            return;
        }
        if self.answers_peers() && self.sealing_secrets().is_empty() && !self.proxy.peers.is_empty() {
            warnings.push(format!(
                "`{REMOTE_PATH}` answers only `auth.callers`: `plugins.proxy.auth.rules` has no key for that path, \
                 which other hosts of this machine need as well where there are callers"
            ));
        }
        for (pattern, keys) in self.listener_rules().iter() {
            let text = pattern.to_string();
            if text.starts_with("/api/v1/functions/") && keys.iter().any(|key| !self.is_key_of_caller(key)) {
                warnings.push(format!(
                    "a key of the rule for `{text}` belongs to no caller, so it may not call any function: \
                     add the key to a caller of `auth.callers`"
                ));
            }
        }
    }
}
