//! `GET /api/v1/functions`: the functions that can be called, and where each would run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::api::{CatalogueView, OfferView};
use crate::base::{Caller, FunctionName};
use crate::config::PeerUrl;
use crate::router::{Router, Target};

/// Returns the whole document.
pub(crate) fn document(router: &Router, caller: &Caller) -> CatalogueView {
    CatalogueView { host_id: router.host_id().to_string(), functions: offers(router, caller) }
}

/// Everything that can be called here and that the caller may see, by name.
pub(crate) fn offers(router: &Router, caller: &Caller) -> Vec<OfferView> {
    let table = Arc::clone(&router.table().snapshot());
    let local = table.sorted().into_values().map(|function| function.name.clone());
    let routes = router.routes();
    let names = local.chain(routes.configured.keys().cloned()).chain(router.offered_names());
    let names: BTreeSet<FunctionName> = names.collect();
    let now = Instant::now();
    // A caller is told what it may call, not how hosts reach each other.
    let is_named = caller.name().is_some();
    let peer_of = |url: &PeerUrl| if is_named { "peer".to_owned() } else { url.to_string() };
    let offer = |name: FunctionName| {
        let target = router.target(&name);
        let (runs, offered) = match &target {
            Target::Local(_) => ("local".to_owned(), None),
            Target::Peers(peers) => (peer_of(target.first_peer(now)?.url()), router.offered(&name, peers)),
            Target::Pending(url) => (peer_of(url), None),
            Target::Nowhere => return None,
        };
        let mut offer = OfferView { name: name.to_string(), runs, ..OfferView::default() };
        let (arguments, result) = match (table.find(name.as_str()), offered) {
            (Some(function), _) => {
                offer.description = function.description.clone();
                offer.plugin = Some(function.plugin.to_string());
                offer.generation = Some(function.generation);
                offer.idempotent = function.idempotent;
                (function.arguments_schema.clone(), function.result_schema.clone())
            }
            (None, Some(offered)) => {
                offer.description = offered.description.clone();
                offer.idempotent = offered.idempotent;
                (offered.arguments_schema(), offered.result_schema())
            }
            (None, None) => (Value::Bool(true), Value::Bool(true)),
        };
        (offer.arguments, offer.result) = (published(arguments), published(result));
        Some(offer)
    };
    names.into_iter().filter(|name| caller.may_see(name)).filter_map(offer).collect()
}

/// Returns a schema as callers get it: `true`, any value, in the form that more readers know.
fn published(schema: Value) -> Value {
    if schema == Value::Bool(true) { json!({}) } else { schema }
}
