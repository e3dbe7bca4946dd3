//! `GET /api/v1/functions`: what can be called, and where it would run.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::health::json_response;
use super::{Door, Response};
use crate::base::{Caller, FunctionName};
use crate::functions::Function;
use crate::router::Target;

/// One function that can be called here.
pub(super) struct Entry {
    pub(super) name: FunctionName,
    /// What its plugin says of it; none where only a peer has it.
    pub(super) function: Option<std::sync::Arc<Function>>,
    /// "local", or the URL of the first peer.
    pub(super) runs: String,
}

/// Everything that can be called here and that the caller may see, by name.
pub(super) fn entries(door: &Door, caller: &Caller) -> Vec<Entry> {
    let router = &door.router;
    let table = std::sync::Arc::clone(&router.table().snapshot());
    let local = table.sorted().into_values().map(|function| function.name.clone());
    let routes = router.routes();
    let names: BTreeSet<FunctionName> = local.chain(routes.configured.keys().cloned()).collect();
    let entry = |name: FunctionName| {
        let runs = match router.target(&name) {
            Target::Local(_) => "local".to_owned(),
            Target::Peers(peers) => peers.first()?.url().to_string(),
            Target::Nowhere => return None,
        };
        Some(Entry { function: table.find(name.as_str()).cloned(), name, runs })
    };
    names.into_iter().filter(|name| caller.may_see(name)).filter_map(entry).collect()
}

pub(super) fn answer(door: &Door, caller: &Caller) -> Response {
    let functions: Vec<Value> = entries(door, caller).iter().map(describe).collect();
    json_response(&json!({ "host_id": &**door.router.host_id(), "functions": functions }))
}

fn describe(entry: &Entry) -> Value {
    let function = entry.function.as_deref();
    json!({
        "name": entry.name.as_str(),
        "description": function.map(|function| function.description.as_str()).unwrap_or_default(),
        "plugin": function.map(|function| &*function.plugin),
        "generation": function.map(|function| function.generation),
        "idempotent": function.is_some_and(|function| function.idempotent),
        "arguments": function.map_or(Value::Bool(true), |function| function.arguments_schema.clone()),
        "result": function.map_or(Value::Bool(true), |function| function.result_schema.clone()),
        "runs": entry.runs,
    })
}
