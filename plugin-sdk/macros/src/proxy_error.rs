//! `#[proxy_error]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Error, Fields, Ident, Result, Type};

use crate::model::add_derives;

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "#[proxy_error] takes no arguments"));
    }
    let mut input: DeriveInput = syn::parse2(item)?;
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(
            &input.ident,
            "a #[proxy_error] is an enum, one variant for each kind of failure",
        ));
    };
    let Some(call) = call_variant(data) else {
        return Err(Error::new_spanned(
            &input.ident,
            "a #[proxy_error] needs a variant for calls that fail: `#[error(transparent)] Call(#[from] CallError)`",
        ));
    };
    let call = call.clone();
    let codes: Vec<TokenStream> = data
        .variants
        .iter()
        .filter(|variant| variant.ident != call)
        .map(|variant| {
            let (ident, code) = (&variant.ident, snake_case(&variant.ident.to_string()));
            quote!(Self::#ident { .. } => #code)
        })
        .collect();
    add_derives(&mut input)?;
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    Ok(quote! {
        #input

        #[automatically_derived]
        impl #impl_generics ::framex_sdk::ProxyError for #name #type_generics #where_clause {
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
    })
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
