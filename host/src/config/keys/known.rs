//! All keys with their forms, and the suggestion for a misspelt one.

use std::sync::LazyLock;

use super::number::NumberRule;
use super::table::KeyForm;
use super::{
    LIMIT_IN_FLIGHT_MAX, LIMIT_QUEUE_MAX, Log, Proxy, RawAdmin, RawAuth, RawLimits, RawLog, RawPeerTls,
    RawProxy, RawProxyAuth, RawReload, RawServer, RawServerTls, RawTrust, Reload, Server,
};
use crate::base::nearest;
use crate::config::key::KeyPath;

/// Keys of later versions: refused by name, so that no operator relies on a protection that is not there.
pub(in crate::config) const LATER: [&str; 1] = ["isolation"];

/// Every key of this version, except the names that the user chooses.
pub(in crate::config) static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    [
        &["host_id", "plugin_dir", "state_dir", "load_plugins"],
        RawServer::KEYS,
        RawServerTls::KEYS,
        RawAdmin::KEYS,
        RawAuth::KEYS,
        RawProxy::KEYS,
        RawPeerTls::KEYS,
        RawProxyAuth::KEYS,
        RawLimits::KEYS,
        RawReload::KEYS,
        RawTrust::KEYS,
        RawLog::KEYS,
    ]
    .concat()
});

/// Returns the form of a key of a checked table or of `limits`, unless that is text.
pub(in crate::config) fn form(key: &KeyPath) -> Option<KeyForm> {
    if let [table, _, _, last] = key.parts()
        && table == "limits"
    {
        return match last.as_str() {
            "in_flight_max" => Some(KeyForm::Number(LIMIT_IN_FLIGHT_MAX)),
            "queue_max" => Some(KeyForm::Number(LIMIT_QUEUE_MAX)),
            _ => None,
        };
    }
    let key = key.dotted();
    Server::form(&key)
        .or_else(|| Proxy::form(&key))
        .or_else(|| Reload::form(&key))
        .or_else(|| Log::form(&key))
}

/// Returns the number of a key, if its value is one.
pub(in crate::config) fn number_of(key: &KeyPath) -> Option<NumberRule> {
    form(key).and_then(|form| if let KeyForm::Number(number) = form { Some(number) } else { None })
}

impl KeyPath {
    /// Returns true for a key that is in no table of this version, and resembles no key.
    pub(in crate::config) fn is_like_none(&self) -> bool {
        let tops = || KEYS.iter().filter_map(|key| key.split('.').next());
        let Some(first) = self.parts().first() else { return true };
        if tops().any(|top| top == first) || LATER.contains(&first.as_str()) {
            return false;
        }
        suggestion(self, &tops().collect::<Vec<_>>()).is_none()
    }

    /// Returns true if its value is a number, or true or false.
    pub(in crate::config) fn is_scalar(&self) -> bool {
        form(self).is_some()
    }
}

/// Returns the known key that the user most likely meant, in full; `here` has the keys of the same table.
pub(in crate::config) fn suggestion(key: &KeyPath, here: &[&str]) -> Option<KeyPath> {
    let wanted = key.parts().last()?;
    // `server_port` for `server.port`, as in a variable with one `_` too few, or `serverport`.
    let slip = |known: &&'static str| strsim::osa_distance(&known.replace('.', "_"), wanted);
    let slips_max = usize::from(key.parts().len() == 1);
    if let Some(known) = KEYS.iter().copied().min_by_key(slip).filter(|known| slip(known) <= slips_max) {
        return Some(KeyPath::of(known));
    }
    // `port` for `server.port`: the very word, in the table that is nearest.
    let last = |known: &&'static str| known.rsplit('.').next() == Some(wanted.as_str());
    let shared = |known: &&'static str| known.split('.').zip(key.parts()).take_while(|(a, b)| a == b).count();
    let elsewhere = KEYS.iter().copied().filter(last).min_by_key(|known| std::cmp::Reverse(shared(known)));
    let sibling = nearest(wanted, here.iter().copied(), 1).first().map(|name| key.parent().child(name));
    // At the top, the same word in another table is more likely than a similar word.
    let found = match (elsewhere.map(KeyPath::of), sibling) {
        (Some(elsewhere), Some(_)) if key.parts().len() == 1 => Some(elsewhere),
        (elsewhere, sibling) => sibling.or(elsewhere),
    };
    if found.is_some() {
        return found;
    }
    nearest(&key.dotted(), KEYS.iter().copied(), 1).first().map(|known| KeyPath::of(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_is_found_here_then_elsewhere() {
        let check = |wanted: &str, here: &[&str], expected: Option<&str>| {
            let found = suggestion(&KeyPath::of(wanted), here).map(|key| key.to_string());
            assert_eq!(found.as_deref(), expected);
        };
        check("server.prot", &["host", "port"], Some("server.port"));
        check("port", &["host_id", "plugin_dir"], Some("server.port"));
        check("host", &["host_id", "plugin_dir"], Some("server.host"));
        check("plugins.proxy.rules", &["auth", "proxy_urls"], Some("plugins.proxy.auth.rules"));
        check("server_port", &["host_id", "server"], Some("server.port"));
        check("zzz", &["host_id"], None);
    }
}
