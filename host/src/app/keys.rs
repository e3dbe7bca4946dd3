//! The keys of this host and of its peers, each secret derived once.

use std::collections::HashMap;
use std::sync::Arc;

use super::AppError;
use crate::base::NamedCaller;
use crate::config::{Config, ConfiguredCaller, PUBLIC_KEY, PeerUrl, Secret};
use crate::wire::{KeyError, KeyId, KeySet};

/// The keys of a config.
#[derive(Default)]
pub(super) struct Keys {
    /// The keys that open frames of peers and callers. With callers, the public key never opens anything: with it,
    /// every user of this machine could call everything. If it is alone there, nothing is opened at all
    /// ([`Config::sealed_calls`]).
    pub(super) opening: Vec<Arc<KeySet>>,
    /// The caller that each key belongs to that is not a host's.
    pub(super) of_callers: HashMap<KeyId, Arc<NamedCaller>>,
    /// The key that seals frames to each peer.
    pub(super) of_peers: HashMap<PeerUrl, Arc<KeySet>>,
    derived: Vec<(Secret, Arc<KeySet>)>,
    public: Option<Arc<KeySet>>,
}

impl Keys {
    /// Derives all keys of `config`, and reuses the keys that `before` has for the same secrets.
    ///
    /// Blocks: a passphrase takes some tens of milliseconds.
    pub(super) fn derive(config: &Config, before: &Self) -> Result<Self, AppError> {
        let mut keys = Self::default();
        for secret in config.sealing_secrets() {
            let key = keys.of_secret(secret, before)?;
            keys.opening.push(key);
        }
        for ConfiguredCaller { caller, keys: secrets, .. } in config.callers.iter() {
            for secret in secrets {
                let key = keys
                    .of_secret(secret, before)
                    .map_err(|source| AppError::KeyOfCaller { caller: Arc::clone(&caller.name), source })?;
                keys.of_callers.insert(key.id(), Arc::clone(caller));
                keys.opening.push(key);
            }
        }
        let public = match &before.public {
            Some(public) => Arc::clone(public),
            None => Arc::new(KeySet::derive(PUBLIC_KEY)?),
        };
        keys.public = Some(Arc::clone(&public));
        if keys.opening.is_empty() {
            keys.opening.push(Arc::clone(&public));
        }
        for peer in &config.proxy.peers {
            let key = match config.sealing_secret_for(peer) {
                Some(secret) => keys.of_secret(secret, before)?,
                None if peer.is_on_this_machine() => Arc::clone(&public),
                None => continue,
            };
            keys.of_peers.insert(peer.url.clone(), key);
        }
        Ok(keys)
    }

    fn of_secret(&mut self, secret: &Secret, before: &Self) -> Result<Arc<KeySet>, KeyError> {
        let same = |(known, _): &&(Secret, Arc<KeySet>)| known == secret;
        if let Some((_, keys)) = self.derived.iter().find(same) {
            return Ok(Arc::clone(keys));
        }
        let keys = match before.derived.iter().find(same) {
            Some((_, keys)) => Arc::clone(keys),
            None => Arc::new(KeySet::derive(secret.expose())?),
        };
        self.derived.push((secret.clone(), Arc::clone(&keys)));
        Ok(keys)
    }
}
