//! Shared parts of the targets: public keys, and limits.

use std::sync::{Arc, OnceLock};

use framex_host::wire::{KeyRing, KeySet, Limits};

/// The secret of the test vectors.
pub const SECRET: &str = "fxk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// The limits of a host for an authentic sender.
pub const LIMITS: Limits = Limits::of_size(1 << 20);

/// The keys of [`SECRET`].
pub fn key() -> &'static Arc<KeySet> {
    static KEY: OnceLock<Arc<KeySet>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(KeySet::derive(SECRET).expect("the secret is well-formed")))
}

/// The keys of [`SECRET`], and of the passphrase of the test vectors.
pub fn ring() -> &'static KeyRing {
    static RING: OnceLock<KeyRing> = OnceLock::new();
    RING.get_or_init(|| {
        let passphrase = Arc::new(KeySet::derive("proxy-key").expect("a passphrase is a secret"));
        KeyRing::new(vec![Arc::clone(key()), passphrase]).expect("there are keys")
    })
}
