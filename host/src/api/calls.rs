//! Functions: what can be called, and where a call runs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `GET /api/v1/functions`: what the client can call.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogueView {
    /// Id of the host.
    pub host_id: String,
    /// The functions, by name.
    pub functions: Vec<OfferView>,
}

/// A function that the client can call.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OfferView {
    /// Its name.
    pub name: String,
    /// The author's text; empty if there is none.
    pub description: String,
    /// The plugin of this host that has it; none if only a peer has it.
    pub plugin: Option<String>,
    /// The published generation of that plugin.
    pub generation: Option<u64>,
    /// Running it twice does no harm.
    pub idempotent: bool,
    /// JSON Schema of the named arguments.
    pub arguments: Value,
    /// JSON Schema of the result.
    pub result: Value,
    /// `local`, the URL of a peer, or `peer` for a named caller.
    pub runs: String,
}

/// `GET /admin/v1/functions`: what the plugins of this host have registered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FunctionsView {
    /// The functions, by name.
    pub functions: Vec<FunctionView>,
}

/// A function in the table of this host.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FunctionView {
    /// Its name.
    pub name: String,
    /// Its plugin.
    pub plugin: String,
    /// The published generation of that plugin.
    pub generation: u64,
    /// `local`, `peer` or `nowhere`.
    pub runs: String,
    /// Its own limit, if it has one.
    pub limit: Option<LimitView>,
    /// The limit of its plugin, if that has one.
    pub plugin_limit: Option<LimitView>,
}

/// A concurrency limit, and how far it is used.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitView {
    /// Maximum number of running calls.
    pub in_flight_max: usize,
    /// Maximum number of waiting calls.
    pub queue_max: usize,
    /// Number of running calls.
    pub running: usize,
    /// Number of waiting calls.
    pub waiting: usize,
}

/// `GET /admin/v1/explain/FUNCTION`: the routing decision for one function.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExplainView {
    /// Name of the function.
    pub function: String,
    /// `local`, `peer` or `nowhere`.
    pub runs: String,
    /// The rules that decided, one sentence each.
    pub because: Vec<String>,
    /// The peer that a call would go to now, if it goes to one.
    #[serde(flatten)]
    pub peer: Option<ExplainedPeer>,
}

/// The peer that a call would go to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExplainedPeer {
    /// Its URL.
    #[serde(rename = "peer")]
    pub url: String,
    /// Its health, as [`super::PeerView::health`] has it.
    #[serde(rename = "peer_health")]
    pub health: String,
    /// A host has proven its identity at the URL.
    #[serde(rename = "peer_has_answered")]
    pub has_answered: bool,
    /// `local` if the call runs here when no peer can take it.
    pub fallback: Option<String>,
}
