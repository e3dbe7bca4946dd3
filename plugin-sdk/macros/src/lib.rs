//! The attributes of framex-sdk: `#[on_proxy]`, `#[plugin]`, `#[model]` and `#[proxy_error]`.
//!
//! Layer: between the ABI and the SDK. Output names items as `::framex_sdk::__private::...` only.
//! Errors point at the author's token and say what to write instead. All problems are reported at once, and the
//! author's item stays in the output, so that uses of it are not errors as well.

mod model;
mod on_proxy;
mod plugin;
mod problems;
mod proxy_error;
mod sdk;

use proc_macro::TokenStream;

/// Marks an async function that the host may run here or on another host.
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
/// The function returns `Result<T, E>` with an `E: ProxyError`. Arguments are owned types, named on the wire, and their doc
/// comments are in the catalogue and in OpenAPI; `#[default]` or `#[default(expression)]` on one makes it optional for
/// callers;
/// `#[state] pool: &Pool` comes from what `on_start` put into the context, and callers do not pass it.
///
/// # Layers
///
/// A layer is for what the function can do without: it measures, logs, keeps results. It looks like this, for all
/// functions or, with their types in place of `T` and `E`, for some:
/// `async fn timed<T, E>(call: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E>`.
///
/// - `next.run().await` runs the body, once, and gives its answer, to look at, change and return. `next.answer(value)`
///   and `next.refuse(error)` are answers without the body.
/// - **A layer that fails does not protect.** If it panics, or returns its own failure (`Err`, as by `?`), before the
///   body began, the body runs without it. To keep a call out, return `Ok(next.refuse(error))`.
/// - After the body began, it is never run again: if the layer fails then, the call is answered with what the layer
///   had been given, and where that is lost, the call fails.
/// - The first failure of each layer in a generation of the plugin is a warning in the host's log, which names it; all
///   are counted (`framex_plugin_layer_failures_total`).
/// - Layers run where the body runs, in plain calls inside the plugin and in unit tests as well. A panic of the body
///   passes through them, and a call that is dropped drops them.
/// - They are async for `blocking` functions, too; `call.state::<T>()` is for them what `#[state]` is for functions.
///
/// # Functions of other plugins
///
/// A function that has no body is a typed call of another plugin's function:
/// `#[on_proxy(name = "demo.some.example_func")] pub async fn example_func(id: u64, user: User) -> Result<String>;`
#[proc_macro_attribute]
pub fn on_proxy(arguments: TokenStream, item: TokenStream) -> TokenStream {
    sdk::named(on_proxy::expand(arguments.into(), item.into())).into()
}

/// Exports the plugin of this library: on its `impl Plugin for ...`.
///
/// Its name and version are the package's; `#[plugin(name = "...")]` gives another name.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    sdk::named(plugin::expand(arguments.into(), item.into())).into()
}

/// Makes a struct or enum a type of arguments and results:
/// derives `Debug`, `Clone`, `Serialize`, `Deserialize` and `JsonSchema`, and sends `Vec<u8>` fields as bytes.
///
/// A value is the same on every host, or is refused; the SDK's documentation has a table of types. So a
/// `#[serde(skip)]` field does not compile, and a value of an enum marked `#[serde(untagged)]` that would arrive as
/// another variant is refused before it leaves: the call fails with `invalid_argument`, or as a result with `internal`.
/// Fields of such an enum that are written `Vec<u8>` are lists of numbers, since bytes in JSON are text.
#[proc_macro_attribute]
pub fn model(arguments: TokenStream, item: TokenStream) -> TokenStream {
    sdk::named(model::expand(arguments.into(), item.into())).into()
}

/// Makes an enum an error type of marked functions, which callers on other hosts match on.
///
/// The enum implements `Display` (with `thiserror`, say) and has one variant that holds a `CallError` with
/// `From<CallError>`, for calls that fail: `#[error(transparent)] Call(#[from] CallError)`.
#[proc_macro_attribute]
pub fn proxy_error(arguments: TokenStream, item: TokenStream) -> TokenStream {
    sdk::named(proxy_error::expand(arguments.into(), item.into())).into()
}
