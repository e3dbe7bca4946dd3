//! The ids of the keys of a config, by which the operators of two hosts can compare what each of them has.

use framex_host::api::REMOTE_PATH;
use framex_host::config::{Config, ConfiguredCaller, Secret};
use framex_host::wire::{KeyError, KeySet, key_id_text};
use serde_json::{Value, json};

use crate::cli::output::table;

/// A key that seals or opens frames.
pub(super) struct ListedKey {
    /// The path, peer or caller that it is for.
    of: String,
    usage: &'static str,
    id: String,
}

/// Derives the id of each key; a passphrase takes some tens of milliseconds.
pub(super) fn list(config: &Config) -> Result<Vec<ListedKey>, KeyError> {
    let listed = |of: String, usage, secret: &Secret| {
        let id = key_id_text(KeySet::derive(secret.expose())?.id());
        Ok(ListedKey { of, usage, id })
    };
    let seals = |place: usize| if place == 0 { "seals and opens" } else { "opens" };
    let rule = config.sealing_secrets().iter().enumerate();
    let rule = rule.map(|(place, secret)| listed(REMOTE_PATH.to_owned(), seals(place), secret));
    let peers = config.proxy.peers.iter().filter_map(|peer| Some((peer, peer.key.as_ref()?)));
    let peers = peers.map(|(peer, secret)| listed(peer.url.to_string(), "seals", secret));
    let callers = config.callers.iter().flat_map(|ConfiguredCaller { caller, keys, .. }| {
        keys.iter().map(move |key| listed(format!("caller {}", caller.name), "opens", key))
    });
    rule.chain(peers).chain(callers).collect()
}

pub(super) fn to_json(keys: &[ListedKey]) -> Value {
    keys.iter().map(|ListedKey { of, usage, id }| json!({ "of": of, "use": usage, "id": id })).collect()
}

/// A table; nothing where there are no keys.
pub(super) fn text(keys: &[ListedKey]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let rows =
        keys.iter().map(|ListedKey { of, usage, id }| vec![of.clone(), (*usage).to_owned(), id.clone()]);
    format!("\n\n{}", table(&["KEY OF", "USE", "KEY ID"], rows))
}
