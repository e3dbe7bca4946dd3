//! The requests for catalogues of peers: to which peers, with which key, and what `check` warns of.

use super::{Config, ConfiguredPeer, Secret};
use crate::api::{FUNCTIONS_PATH, OPENAPI_PATH, REMOTE_PATH};

impl Config {
    /// Returns true if `peer` is asked for its catalogue: if its functions may be called, too.
    pub fn asks_for_catalogue(&self, peer: &ConfiguredPeer) -> bool {
        peer.allows(FUNCTIONS_PATH) && peer.allows(REMOTE_PATH)
    }

    /// Returns the key that opens catalogues of peers: the first key of the rule of `[plugins.proxy.auth]` for exactly
    /// that path, or else for exactly the path of OpenAPI. A key that could seal a call never travels.
    ///
    /// A rule for more paths has keys that open more than lists; peers do not get them.
    pub fn catalogue_key(&self) -> Option<&Secret> {
        self.rule_of_catalogues().map(|(_, key)| key).filter(|key| !self.seals(key) && fits_header(key))
    }

    fn rule_of_catalogues(&self) -> Option<(&'static str, &Secret)> {
        let key_of = |path: &'static str| Some((path, self.proxy_auth.keys_of(path)?.first()?));
        key_of(FUNCTIONS_PATH).or_else(|| key_of(OPENAPI_PATH))
    }

    /// Returns true if calls are sealed with the key, here or by peers and callers.
    fn seals(&self, key: &Secret) -> bool {
        let of_peers = self.proxy.peers.iter().filter_map(|peer| peer.key.as_ref());
        let mut sealing = self.sealing_secrets().iter().chain(of_peers).chain(self.callers.keys());
        sealing.any(|known| known == key)
    }

    /// Warns of a key for catalogues that does not travel, or travels in clear.
    pub(super) fn warn_of_catalogues(&self, warnings: &mut Vec<String>) {
        let Some((path, key)) = self.rule_of_catalogues() else { return };
        let asked: Vec<&ConfiguredPeer> =
            self.proxy.peers.iter().filter(|peer| self.asks_for_catalogue(peer)).collect();
        if asked.is_empty() {
            return;
        }
        if self.seals(key) {
            warnings.push(format!(
                "peers are asked for their catalogues without a key: that of the rule for `{path}` seals calls as well, \
                 and such a key never travels"
            ));
        } else if !fits_header(key) {
            warnings.push(format!(
                "peers are asked for their catalogues without a key: that of the rule for `{path}` has characters that a \
                 header cannot have"
            ));
        } else {
            let in_clear = asked.iter().filter(|peer| !peer.url.is_https() && !peer.is_on_this_machine());
            warnings.extend(in_clear.map(|peer| {
                format!(
                    "the key of the rule for `{path}` goes to `{}` in clear, with each request for its catalogue: use \
                     https, or forbid `{FUNCTIONS_PATH}` there",
                    peer.url
                )
            }));
        }
    }
}

/// Returns true if the key can stand in the header `Authorization`.
fn fits_header(key: &Secret) -> bool {
    http::HeaderValue::from_str(key.expose()).is_ok()
}

#[cfg(test)]
mod tests {
    use crate::config::testing::config;

    /// Checks which key opens catalogues, and what is warned of it.
    fn check(rules: &str, rest: &str, expected: Option<&str>, warning: Option<&str>) {
        let sealing = format!("fxk1_{}", "A".repeat(43));
        let text = format!(
            "[plugins.proxy]\nproxy_urls = [\"http://b:1\", \"https://c\", \"http://127.0.0.1:1\"]\n{rest}\n\
             [plugins.proxy.auth]\nrules = {{ \"/api/v1/proxy/remote\" = [\"SEALING\"]{rules} }}\n"
        );
        let config = config(&text.replace("SEALING", &sealing));
        let found = config.catalogue_key().map(|key| key.expose().replace(&sealing, "SEALING"));
        assert_eq!(found.as_deref(), expected, "{rules}");
        let mut warnings = config.warnings();
        warnings.retain(|warning| warning.contains("catalogue"));
        assert_eq!(warnings.len(), usize::from(warning.is_some()), "{warnings:?}");
        assert!(warning.is_none_or(|warning| warnings[0].contains(warning)), "{warnings:?}");
    }

    #[test]
    fn the_key_is_that_of_an_exact_rule_and_never_one_that_seals() {
        const CLEAR: Option<&str> = Some("goes to `http://b:1` in clear");
        const SEALS: Option<&str> = Some("seals calls as well");
        check("", "", None, None);
        check(", \"/api/v1/openapi.json\" = [\"o\", \"p\"]", "", Some("o"), CLEAR);
        let both = ", \"/api/v1/openapi.json\" = [\"o\"], \"/api/v1/functions\" = [\"f\"]";
        check(both, "", Some("f"), CLEAR);
        check(both, "white_list = [\"/api/v1/proxy/remote\"]", Some("f"), None);
        check(", \"/api/v1/*\" = [\"k\"], \"/api/v1/functions/*\" = [\"k\"]", "", None, None);
        check(", \"/api/v1/functions\" = [\"SEALING\"]", "", None, SEALS);
        check(
            ", \"/api/v1/functions\" = [\"a\\nb\"]",
            "",
            None,
            Some("characters that a header cannot have"),
        );
    }

    #[test]
    fn keys_of_peers_and_callers_do_not_travel_either() {
        let key = format!("fxk1_{}", "A".repeat(43));
        let rules = format!("[plugins.proxy.auth]\nrules = {{ \"/api/v1/functions\" = [\"{key}\"] }}\n");
        let peer = format!("[plugins.proxy.proxy_urls]\n\"https://b\" = {{ key = \"{key}\" }}\n");
        let caller = format!("[auth.callers.web]\nkeys = [\"{key}\"]\nfunctions = [\"*\"]\n");
        assert!(config(&rules).catalogue_key().is_some());
        for more in [peer, caller] {
            assert!(config(&format!("{rules}{more}")).catalogue_key().is_none(), "{more}");
        }
    }
}
