//! The output for a function that is refused.
//!
//! It has the function's name, for calls and for `register_proxy_func`, so that the refusal is the only error:
//! without the name, each use of it would be one more.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, Signature};

use super::{Function, body_of, marker};

/// Returns the author's function and stand-ins for what the attribute would have made of it; nothing of it ever runs.
pub(super) fn kept(function: &Function) -> TokenStream {
    let mut function = function.clone();
    function.signature.variadic = None;
    for input in &mut function.signature.inputs {
        if let FnArg::Typed(typed) = input {
            typed.attrs.retain(|attribute| attribute.path().is_ident("state"));
        }
    }
    if function.signature.receiver().is_some() {
        without_attributes(&mut function.signature);
        return quote!(#function);
    }
    let Function { attributes, visibility, signature, block } = &function;
    let caller = caller(signature);
    let marker = marker(visibility, &signature.ident);
    let body = block.as_ref().map(|block| {
        let mut signature = signature.clone();
        signature.ident = body_of(&signature.ident);
        without_attributes(&mut signature);
        quote!(#(#attributes)* #[allow(dead_code, unused_variables)] #signature #block)
    });
    let implementation = implementation(signature);
    quote! {
        #body
        #[allow(missing_docs, unused)]
        #visibility #caller { ::core::unreachable!() }
        #marker
        #implementation
    }
}

/// Returns the signature that callers see: async, without states.
fn caller(signature: &Signature) -> TokenStream {
    let Signature { ident, generics, output, .. } = signature;
    let is_passed = |input: &&FnArg| matches!(input, FnArg::Typed(typed) if typed.attrs.is_empty());
    let passed = signature.inputs.iter().filter(is_passed);
    let where_clause = &generics.where_clause;
    quote!(async fn #ident #generics (#(#passed),*) #output #where_clause)
}

fn without_attributes(signature: &mut Signature) {
    for input in &mut signature.inputs {
        if let FnArg::Typed(typed) = input {
            typed.attrs.clear();
        }
    }
}

/// Returns an implementation of `ProxyFunction` that type-checks for any signature.
fn implementation(signature: &Signature) -> TokenStream {
    let name = &signature.ident;
    quote! {
        #[automatically_derived]
        #[allow(unused)]
        impl ::framex_sdk::ProxyFunction for #name {
            const DEFINITION: ::framex_sdk::__private::Definition = ::framex_sdk::__private::Definition::REFUSED;
            type Arguments = ();
            type States = ();
            type Output = ();
            type Error = ::framex_sdk::Error;

            fn cell() -> &'static ::framex_sdk::__private::FunctionCell {
                ::core::unreachable!()
            }

            fn states() -> ::core::result::Result<(), ::framex_sdk::CallError> {
                ::core::unreachable!()
            }

            async fn body(_: (), _: ()) -> ::core::result::Result<(), ::framex_sdk::Error> {
                ::core::unreachable!()
            }

            fn encode_arguments(
                _: (),
            ) -> ::core::result::Result<::std::vec::Vec<u8>, ::framex_sdk::CallError> {
                ::core::unreachable!()
            }

            fn decode_arguments(_: &[u8]) -> ::core::result::Result<(), ::framex_sdk::CallError> {
                ::core::unreachable!()
            }

            fn encode_result(_: ()) -> ::core::result::Result<::std::vec::Vec<u8>, ::framex_sdk::CallError> {
                ::core::unreachable!()
            }

            fn decode_result(_: &[u8]) -> ::core::result::Result<(), ::framex_sdk::CallError> {
                ::core::unreachable!()
            }

            fn arguments_schema(
                _: &mut ::framex_sdk::__private::schemars::SchemaGenerator,
            ) -> ::framex_sdk::__private::serde_json::Value {
                ::core::unreachable!()
            }

            fn result_schema(
                _: &mut ::framex_sdk::__private::schemars::SchemaGenerator,
            ) -> ::framex_sdk::__private::serde_json::Value {
                ::core::unreachable!()
            }
        }
    }
}
