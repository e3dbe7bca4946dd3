//! Warnings about catalogues of peers.

use crate::api::FUNCTIONS_PATH;
use crate::config::catalogue::fits_header;
use crate::config::{Config, ConfiguredPeer};

impl Config {
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
