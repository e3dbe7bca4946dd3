//! `GET /api/v1/functions`: the functions that can be called, and where each would run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::api::{CatalogueView, OfferView};
use crate::base::{Caller, FunctionName};
use crate::config::PeerUrl;
use crate::functions::Function;
use crate::peers::Offered;
use crate::router::{Router, Target};

/// One function that can be called here.
pub(crate) struct CatalogueEntry {
    pub(crate) name: FunctionName,
    /// The function in this host's table; none if only a peer has it.
    function: Option<Arc<Function>>,
    /// A peer's offer, if no plugin here has the function.
    offered: Option<Arc<Offered>>,
    /// "local", or the URL of the peer that calls go to now, or of one of them; "peer" for a named caller.
    pub(crate) runs: String,
}

impl CatalogueEntry {
    pub(crate) fn description(&self) -> &str {
        let of_peer = || self.offered.as_ref().map(|offered| offered.description.as_str());
        self.function
            .as_ref()
            .map(|function| function.description.as_str())
            .or_else(of_peer)
            .unwrap_or_default()
    }

    /// The plugin, where one of this host has it.
    pub(crate) fn plugin(&self) -> Option<&str> {
        self.function.as_ref().map(|function| &*function.plugin)
    }

    fn idempotent(&self) -> bool {
        let of_peer = || self.offered.as_ref().map(|offered| offered.idempotent);
        self.function.as_ref().map(|function| function.idempotent).or_else(of_peer).unwrap_or_default()
    }

    pub(crate) fn arguments_schema(&self) -> Value {
        let of_peer = || self.offered.as_ref().map(|offered| offered.arguments_schema());
        let here = self.function.as_ref().map(|function| function.arguments_schema.clone());
        published(here.or_else(of_peer))
    }

    pub(crate) fn result_schema(&self) -> Value {
        let of_peer = || self.offered.as_ref().map(|offered| offered.result_schema());
        let here = self.function.as_ref().map(|function| function.result_schema.clone());
        published(here.or_else(of_peer))
    }
}

/// A schema as callers get it: where there is none, or one that is `true`, any value, in the form that more readers know.
fn published(schema: Option<Value>) -> Value {
    schema.filter(|schema| *schema != Value::Bool(true)).unwrap_or_else(|| json!({}))
}

/// Everything that can be called here and that the caller may see, by name.
pub(crate) fn entries(router: &Router, caller: &Caller) -> Vec<CatalogueEntry> {
    let table = Arc::clone(&router.table().snapshot());
    let local = table.sorted().into_values().map(|function| function.name.clone());
    let routes = router.routes();
    let names = local.chain(routes.configured.keys().cloned()).chain(router.offered_names());
    let names: BTreeSet<FunctionName> = names.collect();
    let now = Instant::now();
    // A caller is told what it may call, not how hosts reach each other.
    let is_named = caller.name().is_some();
    let peer_of = |url: &PeerUrl| if is_named { "peer".to_owned() } else { url.to_string() };
    let entry = |name: FunctionName| {
        let function = table.find(name.as_str()).cloned();
        let target = router.target(&name);
        let (runs, offered) = match &target {
            Target::Local(_) => ("local".to_owned(), None),
            Target::Peers(peers) => (peer_of(target.first_peer(now)?.url()), router.offered(&name, peers)),
            Target::Pending(url) => (peer_of(url), None),
            Target::Nowhere => return None,
        };
        Some(CatalogueEntry { function, offered, name, runs })
    };
    names.into_iter().filter(|name| caller.may_see(name)).filter_map(entry).collect()
}

/// Returns the whole document.
pub(crate) fn document(router: &Router, caller: &Caller) -> CatalogueView {
    let functions = entries(router, caller).iter().map(OfferView::from).collect();
    CatalogueView { host_id: router.host_id().to_string(), functions }
}

impl From<&CatalogueEntry> for OfferView {
    fn from(entry: &CatalogueEntry) -> Self {
        Self {
            name: entry.name.to_string(),
            description: entry.description().to_owned(),
            plugin: entry.plugin().map(str::to_owned),
            generation: entry.function.as_ref().map(|function| function.generation),
            idempotent: entry.idempotent(),
            arguments: entry.arguments_schema(),
            result: entry.result_schema(),
            runs: entry.runs.clone(),
        }
    }
}
