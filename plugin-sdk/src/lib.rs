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
pub use framex_macros::{model, on_proxy, plugin, proxy_error};
pub use function::ProxyFunction;
pub use layer::{Answer, LayerCall, LayerError, Layered, Next};
pub use options::CallOptions;

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
