//! The attributes of framex-sdk: `#[on_proxy]`, `#[plugin]`, `#[model]` and `#[proxy_error]`.
//!
//! Layer: between the ABI and the SDK. Output names items as `::framex_sdk::__private::...` only.
//! Errors point at the author's token and say what to write instead. All problems are reported at once, and the
//! author's item stays in the output, so that uses of it are not errors as well.

#![allow(missing_docs, reason = "framex-sdk documents the attributes, because examples are tested there")]

mod model;
mod on_proxy;
mod plugin;
mod problems;
mod proxy_error;
mod sdk;

use proc_macro::TokenStream;

#[proc_macro_attribute]
pub fn on_proxy(arguments: TokenStream, item: TokenStream) -> TokenStream {
    sdk::named(on_proxy::expand(arguments.into(), item.into())).into()
}

#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    sdk::named(plugin::expand(arguments.into(), item.into())).into()
}

#[proc_macro_attribute]
pub fn model(arguments: TokenStream, item: TokenStream) -> TokenStream {
    sdk::named(model::expand(arguments.into(), item.into())).into()
}

#[proc_macro_attribute]
pub fn proxy_error(arguments: TokenStream, item: TokenStream) -> TokenStream {
    sdk::named(proxy_error::expand(arguments.into(), item.into())).into()
}
