//! `#[plugin]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::{Error, ItemImpl, LitStr, Result};

use crate::problems::Problems;

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut problems = Problems::default();
    let mut name: Option<LitStr> = None;
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("name") {
            name = Some(meta.value()?.parse()?);
            Ok(())
        } else {
            Err(meta.error("#[plugin] takes `name = \"...\"` only"))
        }
    });
    problems.ok(parser.parse2(arguments));
    if let Some(name) = &name {
        problems.ok(check_name(name));
    }
    let Some(item) = problems.ok(plugin_impl(item.clone())).filter(|_| problems.is_empty()) else {
        return quote!(#problems #item);
    };
    let plugin = &item.self_ty;
    let name = name.map_or_else(|| quote!(::core::env!("CARGO_PKG_NAME")), |name| quote!(#name));
    quote! {
        #item

        const _: () = {
            use ::framex_sdk::__private::abi;

            // No `allow(unsafe_code)`: the lint passes over what a macro writes, and a plugin may forbid it.
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            pub static framex_plugin_v1: abi::PluginDescriptor = abi::PluginDescriptor {
                magic: abi::MAGIC,
                struct_size: ::core::mem::size_of::<abi::PluginDescriptor>() as u32,
                abi_major: abi::ABI_MAJOR,
                abi_minor: abi::ABI_MINOR,
                flags: abi::FLAG_CONTAINS_PANICS,
                name: abi::fixed_text(#name),
                version: abi::fixed_text(::core::env!("CARGO_PKG_VERSION")),
                built_with: abi::fixed_text(::framex_sdk::__private::BUILT_WITH),
                on_start: ::core::option::Option::Some(::framex_sdk::__private::start::<#plugin>),
                on_stop: ::core::option::Option::Some(::framex_sdk::__private::stop::<#plugin>),
            };

            #[unsafe(no_mangle)]
            #[allow(improper_ctypes_definitions)]
            pub extern "C" fn framex_layout_v1() -> &'static ::framex_sdk::__private::TypeLayout {
                <abi::AbiSurface as ::framex_sdk::__private::StableAbi>::LAYOUT
            }
        };
    }
}

fn plugin_impl(item: TokenStream) -> Result<ItemImpl> {
    let item: ItemImpl = syn::parse2(item)?;
    let last = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
    if last.is_some_and(|last| last.ident == "Plugin") {
        return Ok(item);
    }
    Err(Error::new_spanned(&item.self_ty, "#[plugin] goes on `impl Plugin for ...`"))
}

fn check_name(name: &LitStr) -> Result<()> {
    let text = name.value();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if text.is_empty() || text.len() > 63 || !text.chars().all(allowed) || text == "proxy" {
        let message = "a plugin's name is 1 to 63 characters of a-z 0-9 _ - and not `proxy`";
        return Err(Error::new_spanned(name, message));
    }
    Ok(())
}
