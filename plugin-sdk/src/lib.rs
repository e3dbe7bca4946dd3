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
//! task begins anew: it has no part in the deadline of the call that spawned it.

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

/// What a plugin needs, in one line.
pub mod prelude {
    pub use crate::{
        Answer, Bytes, CallError, CallOptions, Code, Context, Error, LayerCall, LayerError, Layered, Next,
        Plugin, ProxyError, Result, model, on_proxy, plugin, proxy_error,
    };
}

#[doc(hidden)]
pub mod __private {
    //! What the macros' output names; not for authors, and free to change.
    pub use framex_abi as abi;
    pub use framex_abi::layout::{StableAbi, TypeLayout};
    pub use schemars;
    pub use serde;
    pub use serde_json;

    pub use crate::bytes::{bytes_field, optional_bytes_field};
    pub use crate::codec::{
        arguments_from, arguments_to, result_bytes_from, result_bytes_to, result_from, result_to,
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
