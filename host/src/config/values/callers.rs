//! Named callers: their keys and certificates, and the functions that they may call.

use std::sync::Arc;

use super::{PresentedKey, Secret};
use crate::base::{CertificateName, NamedCaller};

/// The callers of `[auth.callers]`; no two share a key or a certificate. `Debug` shows no keys.
#[derive(Debug, Clone, Default)]
pub struct Callers(pub(in crate::config) Vec<ConfiguredCaller>);

/// A caller with at least one key or certificate.
#[derive(Debug, Clone)]
pub struct ConfiguredCaller {
    /// Its name, and the functions that it may call.
    pub caller: Arc<NamedCaller>,
    /// Each is valid.
    pub keys: Vec<Secret>,
    /// The names of its certificates, which an authority of `server.tls.client_ca` has signed.
    pub certificates: Vec<CertificateName>,
}

impl Callers {
    /// Returns the caller whose key was presented. All keys are compared, each in constant time.
    pub fn of_key(&self, presented: &PresentedKey) -> Option<&Arc<NamedCaller>> {
        let keys = self.0.iter().flat_map(|known| known.keys.iter().map(move |key| (&known.caller, key)));
        keys.fold(None, |found, (caller, key)| if key.is(presented) { Some(caller) } else { found })
    }

    /// Returns the caller whose client showed a certificate of this name and kind.
    pub fn of_certificate(&self, name: &CertificateName) -> Option<&Arc<NamedCaller>> {
        let found = self.0.iter().find(|known| known.certificates.contains(name));
        found.map(|known| &known.caller)
    }

    /// Returns true if any caller has certificates.
    pub fn have_certificates(&self) -> bool {
        self.0.iter().any(|known| !known.certificates.is_empty())
    }

    /// Returns the callers, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ConfiguredCaller> {
        self.0.iter()
    }

    /// Returns the keys of all callers.
    pub fn keys(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter().flat_map(|known| &known.keys)
    }

    /// Returns true without callers: then no client is limited to some functions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
