//! Named callers: their keys and certificates, and the functions that they may call.

use std::sync::Arc;

use super::{PresentedKey, Secret};
use crate::base::{CertificateName, NamedCaller};

/// The callers of `[auth.callers]`; no key and no certificate is of two of them. `Debug` shows no keys.
#[derive(Debug, Clone, Default)]
pub struct Callers(pub(in crate::config) Vec<ConfiguredCaller>);

/// A caller, and how it is recognised: by one key or one certificate at least.
#[derive(Debug, Clone)]
pub struct ConfiguredCaller {
    /// Its name, and what it may call.
    pub caller: Arc<NamedCaller>,
    /// All of them are valid.
    pub keys: Vec<Secret>,
    /// The names of its certificates, which an authority of `server.tls.client_ca` has signed.
    pub certificates: Vec<CertificateName>,
}

impl Callers {
    /// The caller whose key was presented. All keys are compared, each in constant time.
    #[must_use]
    pub fn of_key(&self, presented: &PresentedKey) -> Option<&Arc<NamedCaller>> {
        let keys = self.0.iter().flat_map(|known| known.keys.iter().map(move |key| (&known.caller, key)));
        keys.fold(None, |found, (caller, key)| if key.is(presented) { Some(caller) } else { found })
    }

    /// The caller whose client showed a certificate of this very name, of the same kind.
    #[must_use]
    pub fn of_certificate(&self, name: &CertificateName) -> Option<&Arc<NamedCaller>> {
        let found = self.0.iter().find(|known| known.certificates.contains(name));
        found.map(|known| &known.caller)
    }

    /// Returns true if any caller has certificates.
    #[must_use]
    pub fn have_certificates(&self) -> bool {
        self.0.iter().any(|known| !known.certificates.is_empty())
    }

    /// The callers, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ConfiguredCaller> {
        self.0.iter()
    }

    /// The keys of all.
    pub fn keys(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter().flat_map(|known| &known.keys)
    }

    /// Whether there are none: then nobody is limited to some functions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
