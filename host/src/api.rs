//! The JSON API as types: what the host answers and the command line reads, and the paths and headers of both.
//!
//! Layer: directly above `base`. Data only: it must never know how an answer is made or shown.
//!
//! A field that is missing takes its default and an unknown one is skipped, so that a command can ask an older or newer
//! host.

mod calls;
mod host;
mod path;
mod peers;
mod plugins;
mod problem;

pub use calls::{
    CatalogueView, ExplainView, ExplainedPeer, FunctionView, FunctionsView, LimitView, OfferView,
};
pub use host::{AliveView, ConfigGapView, HostView, ReadyView};
pub use path::{AdminPath, PluginChange};
pub use peers::{
    AnsweredView, FailedFetchView, LastErrorView, PeerCatalogueView, PeerView, PeersView, ProbeView,
};
pub(crate) use plugins::milliseconds_of;
pub use plugins::{
    ChangeView, DifferenceView, FailedChangeView, FailedPlugin, LoadOptions, PluginView, PluginsView,
    ProgressView, ReloadOptions, ReloadView, RollbackOptions, StepView, UnloadOptions, ZombieView,
};
pub use problem::ProblemView;

/// Sealed calls of peers; the keys of its rule seal them (`host/WIRE.md`).
pub const REMOTE_PATH: &str = "/api/v1/proxy/remote";
/// The catalogue: each function, and where it runs. A function is called at `/NAME` below it.
pub const FUNCTIONS_PATH: &str = "/api/v1/functions";
/// OpenAPI of the same functions.
pub const OPENAPI_PATH: &str = "/api/v1/openapi.json";
/// Liveness.
pub const HEALTH_PATH: &str = "/health";
/// Readiness.
pub const READY_PATH: &str = "/ready";
/// Metrics, on the listeners of the admin API only.
pub const METRICS_PATH: &str = "/metrics";

/// The id of a call in logs and responses.
pub const REQUEST_ID_HEADER: &str = "x-framex-request-id";
/// Id of the host that ran the body of the function; absent if no host did.
pub const SERVED_BY_HEADER: &str = "x-framex-served-by";
/// Makes a repeat of a call recognisable.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// Marks a response as the outcome of an earlier call with the same idempotency key; the name is Stripe's.
pub const REPLAYED_HEADER: &str = "idempotent-replayed";
/// Deadline of a call in milliseconds.
pub const TIMEOUT_HEADER: &str = "x-framex-timeout-ms";

/// The media type of requests and responses.
pub const JSON: &str = "application/json";
/// The media type of errors (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
