//! `#[proxy_error]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Fields, Ident, Type};

use crate::model::add_derives;
use crate::problems::Problems;

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut problems = Problems::default();
    if !arguments.is_empty() {
        problems.at(arguments, "#[proxy_error] takes no arguments");
    }
    let Some(mut input) = problems.ok(syn::parse2::<DeriveInput>(item.clone())) else {
        return quote!(#problems #item);
    };
    let call = match &input.data {
        Data::Enum(data) => {
            let call = call_variant(data).cloned();
            if call.is_none() {
                problems.at(
                    &input.ident,
                    "a #[proxy_error] needs a variant for calls that fail: `#[error(transparent)] Call(#[from] CallError)`",
                );
            }
            call
        }
        _ => {
            problems.at(&input.ident, "a #[proxy_error] is an enum, one variant for each kind of failure");
            None
        }
    };
    if !matches!(input.data, Data::Union(_)) {
        problems.ok(add_derives(&mut input));
    }
    let methods = match (&input.data, call) {
        (Data::Enum(data), Some(call)) if problems.is_empty() => methods(data, &call),
        _ => methods_of_refused(),
    };
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    quote! {
        #problems

        #input

        #[automatically_derived]
        impl #impl_generics ::framex_sdk::ProxyError for #name #type_generics #where_clause {
            #methods
        }
    }
}

fn methods(data: &DataEnum, call: &Ident) -> TokenStream {
    let codes = data.variants.iter().filter(|variant| variant.ident != *call).map(|variant| {
        let (ident, code) = (&variant.ident, snake_case(&variant.ident.to_string()));
        quote!(Self::#ident { .. } => #code)
    });
    quote! {
        fn to_call_error(&self) -> ::framex_sdk::CallError {
            let code = match self {
                Self::#call(error) => return ::core::clone::Clone::clone(error),
                #(#codes,)*
            };
            ::framex_sdk::CallError::failed(code, ::std::string::ToString::to_string(self)).with_details(self)
        }

        fn from_call_error(error: ::framex_sdk::CallError) -> Self {
            match ::framex_sdk::__private::failure_from_details(&error) {
                ::core::option::Option::Some(failure) => failure,
                ::core::option::Option::None => ::core::convert::From::from(error),
            }
        }
    }
}

/// Methods for a type that is refused, so that functions that return it have no further error.
fn methods_of_refused() -> TokenStream {
    quote! {
        fn to_call_error(&self) -> ::framex_sdk::CallError {
            ::core::unreachable!()
        }

        fn from_call_error(_: ::framex_sdk::CallError) -> Self {
            ::core::unreachable!()
        }
    }
}

/// The variant `X(CallError)`.
fn call_variant(data: &DataEnum) -> Option<&Ident> {
    let holds_call_error = |fields: &Fields| match fields {
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => match &fields.unnamed[0].ty {
            Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "CallError"),
            _ => false,
        },
        _ => false,
    };
    data.variants.iter().find(|variant| holds_call_error(&variant.fields)).map(|variant| &variant.ident)
}

/// `NoSuchUser` as `no_such_user`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}
