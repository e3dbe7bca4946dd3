//! Write plugins for framex-host.
//!
//! Mark an async function, register it when the plugin starts, and call it by its own name and types:
//! the host decides from its configuration whether the body runs here or on another host.
//!
//! ```
//! use framex_sdk::prelude::*;
//!
//! #[model]
//! pub struct User { pub id: u64, pub name: String }
//!
//! /// Greets one user.
//! #[on_proxy]
//! pub async fn greet(id: u64, user: User) -> Result<String> {
//!     Ok(format!("{id}: {}", user.name))
//! }
//!
//! #[derive(Default)]
//! struct Greeter;
//!
//! #[plugin]
//! impl Plugin for Greeter {
//!     async fn on_start(&mut self, ctx: &Context) -> Result<()> {
//!         ctx.register_proxy_func::<greet>()
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! The crate is a `cdylib`. Outside a host, in unit tests for example, a marked function runs its body;
//! one with `#[state]` arguments has none there, and fails with [`Code::Unavailable`].
//!
//! Inside a host every function is polled on the host's workers with this plugin's own tokio runtime entered,
//! so timers, sockets and database drivers work; `tokio::spawn` works as well, but a call made from a spawned
//! task begins anew: it does not share the deadline of the call that spawned it.
//!
//! # Types
//!
//! A value is the same on every host, or it is refused: in a plain call nothing is encoded; to another
//! plugin, and sealed to a peer, values travel as MessagePack; JSON is for callers that are not plugins.
//! Any type that is [`serde::Serialize`] and `Deserialize` can be an argument or a result.
//!
//! | type | MessagePack | JSON |
//! | --- | --- | --- |
//! | integers of at most 64 bits | number | number; also `1.0` and `1e3`, exactly |
//! | `i128`, `u128` | text of decimal digits | string of decimal digits; a number of at most 64 bits is taken as well |
//! | `f32`, `f64` | number | number; a result with NaN or an infinity is refused (`failed`, the function ran) |
//! | `bool`, `String`, `char`, `()` | boolean, text, nil | boolean, string, `null` |
//! | unit struct | nil | `null` |
//! | [`Bytes`]; `Vec<u8>` as an argument, result or field of a `#[model]` | bytes | base64 string |
//! | `Vec<u8>` elsewhere (`Vec<Vec<u8>>`, behind an alias, in an untagged enum, a result `Option<Vec<u8>>`) | list of numbers | array of numbers |
//! | lists, sets, tuples, arrays | list | array |
//! | struct; maps with keys of text | map | object |
//! | maps with other keys | map | object; numbers, booleans, characters and unit variants are their text, bytes base64, lists their JSON |
//! | `Option<T>` | nil or the value | `null` or the value |
//! | `Some` around nothing: `Some(None)`, `Some(())` | an extension (`host/WIRE.md`) | cannot be sent; a result with it is refused (`failed`, the function ran) |
//! | enums, with any of serde's four forms of tags | as serde's form says | as serde's form says |
//! | `Duration`, `SystemTime` | map of seconds and nanoseconds | object of the same |
//! | `serde_json::Value`, and types without a `JsonSchema` | their value | their value; the schema is `{}`, anything |
//!
//! Values outside of this table are not lost in silence:
//!
//! - A field marked `#[serde(skip)]`, `skip_serializing` or `skip_deserializing` does not compile in a `#[model]`.
//! - A value of a `#[model]` enum marked `#[serde(untagged)]` that its receiver would read as another variant is refused
//!   before it leaves: `invalid_argument` for an argument, `internal` for a result. Such enums are read back once, so
//!   they cost more than others.
//! - Serde keeps no 128-bit integers while it looks for a variant, or for the fields of a flattened struct
//!   (`tag = ".."`, `untagged`, `flatten`). A `#[model]` carries them there in fields written `u128`, `i128`, and as an
//!   `Option` or `Vec` of these; in other forms, and in types without `#[model]`, the call is refused. In the same
//!   places JSON must write integers without a point or exponent, and maps there have keys of text.
//! - What an implementation or attribute of your own leaves out (`serialize_with`, `skip_serializing_if` with another
//!   default) is yours to put back; enums without `#[model]` are not checked.
//! - Values are nested at most 64 levels deep; deeper ones are refused.

mod bytes;
mod codec;
mod config;
mod context;
mod error;
mod export;
mod function;
mod instance;
mod layer;
mod logging;
mod options;
mod outgoing;
mod panics;
mod schema;
mod waker;

pub use bytes::Bytes;
pub use context::{Context, Plugin};
pub use error::{CallError, Code, Error, ProxyError, Result};
pub use function::ProxyFunction;
pub use layer::{Answer, LayerCall, LayerError, Layered, Next};
pub use options::CallOptions;

/// Makes a struct or enum a type of arguments and results:
/// derives `Debug`, `Clone`, `Serialize`, `Deserialize` and `JsonSchema`, and sends `Vec<u8>` fields as bytes.
///
/// A value is the same on every host, or is refused; the SDK's documentation has a table of types. So a
/// `#[serde(skip)]` field does not compile, and a value of an enum marked `#[serde(untagged)]` that would arrive as
/// another variant is refused before it leaves: the call fails with `invalid_argument`, or as a result with `internal`.
/// Fields of such an enum that are written `Vec<u8>` are lists of numbers, since bytes in JSON are text.
///
/// ```
/// use framex_sdk::prelude::*;
///
/// #[model]
/// pub struct Upload {
///     pub name: String,
///     /// Bytes: base64 in JSON.
///     pub content: Vec<u8>,
/// }
/// # fn main() {}
/// ```
pub use framex_macros::model;

/// Marks an async function that the host may run here or on another host.
///
/// ```
/// use framex_sdk::prelude::*;
///
/// /// Adds two numbers.
/// #[on_proxy(idempotent, timeout_ms = 500)]
/// pub async fn add(a: u64, #[default(1)] b: u64) -> Result<u64> {
///     Ok(a + b)
/// }
/// # fn main() {}
/// ```
///
/// `#[on_proxy]`, or with any of:
/// - `name = "crate.module.function"`: a name other than its path;
/// - `idempotent`: running it twice does no harm, so a failed call may be retried;
/// - `timeout_ms = 500`: the timeout of one call through the host;
/// - `max_concurrency = 8`: the most calls through the host at one time; more are rejected as `overloaded`;
/// - `max_queue = 32`: the most calls that wait for one of these to end, in order of arrival, until their deadline;
/// - `layer = timed`: an async function that runs around the body; several run in the order in which they are
///   written, the first one outermost;
/// - `blocking`: a plain `fn` that runs on the blocking pool.
///
/// The function returns `Result<T, E>` with an `E: ProxyError`. Arguments are owned types, named on the wire, and their
/// doc comments are in the catalogue and in OpenAPI. `#[default]` or `#[default(expression)]` makes an argument optional
/// for callers. `#[state] pool: &Pool` takes a value that `on_start` put into the context; callers do not pass it.
///
/// # Layers
///
/// A layer adds something that the function can do without: it measures, logs or caches. Its signature, with `T` and `E`
/// for all functions or with the types of some:
/// `async fn timed<T, E>(call: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E>`.
///
/// - `next.run().await` runs the body once and returns its answer, which the layer may change and returns.
///   `next.answer(value)` and `next.refuse(error)` are answers without the body.
/// - **A layer that fails does not protect.** If it panics, or returns its own failure (`Err`, as by `?`), before the
///   body began, the body runs without it. To reject a call, return `Ok(next.refuse(error))`.
/// - The body never runs twice: if the layer fails after the body began, the caller gets the answer that the layer was
///   given; if that is lost, the call fails.
/// - The first failure of each layer in a generation of the plugin is a warning in the host's log, which names it; all
///   are counted (`framex_plugin_layer_failures_total`).
/// - Layers run where the body runs, in plain calls inside the plugin and in unit tests as well. A panic of the body
///   passes through them, and a call that is dropped drops them.
/// - Layers of `blocking` functions are async, too. `call.state::<T>()` returns the values that `#[state]` takes.
///
/// # Functions of other plugins
///
/// A function that has no body is a typed call of another plugin's function:
/// `#[on_proxy(name = "demo.some.example_func")] pub async fn example_func(id: u64, user: User) -> Result<String>;`
pub use framex_macros::on_proxy;

/// Exports the plugin of this library: on its `impl Plugin for ...`.
///
/// Its name and version are the package's; `#[plugin(name = "...")]` gives another name.
///
/// ```
/// use framex_sdk::prelude::*;
///
/// #[derive(Default)]
/// struct Greeter;
///
/// #[plugin(name = "greeter")]
/// impl Plugin for Greeter {
///     async fn on_start(&mut self, _: &Context) -> Result<()> {
///         Ok(())
///     }
/// }
/// # fn main() {}
/// ```
pub use framex_macros::plugin;

/// Makes an enum an error type of marked functions, which callers on other hosts match on.
///
/// The enum implements `Display` (with `thiserror`, say) and has one variant that holds a `CallError` with
/// `From<CallError>`, for calls that fail: `#[error(transparent)] Call(#[from] CallError)`.
///
/// ```
/// use framex_sdk::prelude::*;
/// use std::fmt;
///
/// #[proxy_error]
/// pub enum BankError {
///     UnknownAccount { account: u64 },
///     Call(CallError),
/// }
///
/// impl fmt::Display for BankError {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         match self {
///             Self::UnknownAccount { account } => write!(f, "there is no account {account}"),
///             Self::Call(error) => error.fmt(f),
///         }
///     }
/// }
///
/// impl From<CallError> for BankError {
///     fn from(error: CallError) -> Self {
///         Self::Call(error)
///     }
/// }
///
/// #[on_proxy]
/// pub async fn balance(account: u64) -> Result<i64, BankError> {
///     Err(BankError::UnknownAccount { account })
/// }
/// # fn main() {}
/// ```
pub use framex_macros::proxy_error;

/// The items that a plugin needs, in one import.
pub mod prelude {
    pub use crate::{
        Answer, Bytes, CallError, CallOptions, Code, Context, Error, LayerCall, LayerError, Layered, Next,
        Plugin, ProxyError, Result, model, on_proxy, plugin, proxy_error,
    };
}

#[doc(hidden)]
pub mod __private {
    //! The items that the macros' output names; not for authors, and free to change.
    pub use framex_abi as abi;
    pub use framex_abi::layout::{StableAbi, TypeLayout};
    pub use schemars;
    pub use serde;
    pub use serde_json;

    pub use crate::bytes::{bytes_field, optional_bytes_field};
    pub use crate::codec::{
        Untagged, arguments_from, arguments_to, result_bytes_from, result_bytes_to, result_from, result_to,
        serialize_untagged, wide_field,
    };
    pub use crate::error::failure_from_details;
    pub use crate::export::{blocking, call, start, stop};
    pub use crate::function::{
        Definition, FunctionCell, ResultParts, dotted, dotted_len, invoke, invoke_remote, state,
    };
    pub use crate::layer::{Layer, Slot, boxed};
    pub use crate::schema::{ArgumentSchema, Probe, ViaAny, ViaSchema, arguments_schema};

    /// SDK and compiler.
    pub const BUILT_WITH: &str =
        concat!("framex-sdk ", env!("CARGO_PKG_VERSION"), ", ", env!("FRAMEX_RUSTC"));
}
