//! The attributes of framex-sdk: `#[on_proxy]`, `#[plugin]`, `#[model]` and `#[proxy_error]`.
//!
//! Layer: between the ABI and the SDK. Output names items as `::framex_sdk::__private::...` only.
//! Errors point at the author's token and say what to write instead.

mod model;
mod on_proxy;
mod plugin;
mod proxy_error;

use proc_macro::TokenStream;

/// Marks an async function that the host may run here or on another host.
///
/// `#[on_proxy]`, or with any of:
/// - `name = "crate.module.function"`: another name than the one of its path;
/// - `idempotent`: running it twice does no harm, so a failed call may be repeated;
/// - `timeout_ms = 500`: the most that one call through the host may take;
/// - `max_concurrency = 8`: the most calls through the host at one time; more are refused as `overloaded`;
/// - `max_queue = 32`: with it, so many more wait for a place, first come, first served, as long as they have time;
/// - `blocking`: a plain `fn` that runs on the blocking pool.
///
/// It returns `Result<T, E>` with an `E: ProxyError`. Arguments are owned types, named on the wire;
/// `#[default]` or `#[default(expression)]` on one makes it optional for callers;
/// `#[state] pool: &Pool` comes from what `on_start` put into the context, and callers do not pass it.
///
/// A function that has no body is a typed call of another plugin's function:
/// `#[on_proxy(name = "demo.some.example_func")] pub async fn example_func(id: u64, user: User) -> Result<String>;`
#[proc_macro_attribute]
pub fn on_proxy(arguments: TokenStream, item: TokenStream) -> TokenStream {
    on_proxy::expand(arguments.into(), item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Exports the plugin of this library: on its `impl Plugin for ...`.
///
/// Its name and version are the package's; `#[plugin(name = "...")]` gives another name.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    plugin::expand(arguments.into(), item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a struct or enum a type of arguments and results:
/// derives `Debug`, `Clone`, `Serialize`, `Deserialize` and `JsonSchema`, and sends `Vec<u8>` fields as bytes.
#[proc_macro_attribute]
pub fn model(arguments: TokenStream, item: TokenStream) -> TokenStream {
    model::expand(arguments.into(), item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes an enum an error type of marked functions, which callers on other hosts match on.
///
/// The enum implements `Display` (with `thiserror`, say) and has one variant that holds a `CallError` with
/// `From<CallError>`, for calls that fail: `#[error(transparent)] Call(#[from] CallError)`.
#[proc_macro_attribute]
pub fn proxy_error(arguments: TokenStream, item: TokenStream) -> TokenStream {
    proxy_error::expand(arguments.into(), item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}
