//! Enums without a tag: serde's own code under another name, and around it the check that a value arrives as itself.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, parse_quote};

/// Returns true if an enum, or a variant of it, is marked `#[serde(untagged)]`.
pub(super) fn is_untagged(input: &DeriveInput) -> bool {
    let Data::Enum(data) = &input.data else { return false };
    let is_marked = |attributes: &[Attribute]| {
        let serde = attributes.iter().filter(|attribute| attribute.path().is_ident("serde"));
        serde.into_iter().any(|attribute| {
            let mut found = false;
            // Serde itself reports what cannot be parsed.
            let _read = attribute.parse_nested_meta(|meta| {
                found |= meta.path.is_ident("untagged");
                if meta.input.peek(syn::Token![=]) {
                    meta.value()?.parse::<syn::Expr>()?;
                }
                Ok(())
            });
            found
        })
    };
    is_marked(&input.attrs) || data.variants.iter().any(|variant| is_marked(&variant.attrs))
}

/// Makes serde derive functions instead of its traits, and implements the traits with them.
pub(super) fn checks(input: &mut DeriveInput) -> TokenStream {
    let name = input.ident.clone();
    let shown = name.to_string();
    input.attrs.push(parse_quote!(#[serde(remote = "Self")]));
    input.attrs.push(parse_quote!(#[schemars(remote = #shown)]));
    let Data::Enum(data) = &input.data else { return TokenStream::new() };
    let variants = data.variants.iter().map(|variant| {
        let (ident, text) = (&variant.ident, variant.ident.to_string());
        quote!(Self::#ident { .. } => #text)
    });
    let mut generics = input.generics.clone();
    let types: Vec<_> = generics.type_params().map(|parameter| parameter.ident.clone()).collect();
    let clause = generics.make_where_clause();
    for ty in types {
        clause
            .predicates
            .push(parse_quote!(#ty: private::serde::Serialize + private::serde::de::DeserializeOwned));
    }
    let (_, type_generics, where_clause) = generics.split_for_impl();
    let (impl_generics, _, _) = input.generics.split_for_impl();
    let mut with_lifetime = input.generics.clone();
    with_lifetime.params.insert(0, parse_quote!('de));
    let (impl_with_lifetime, _, _) = with_lifetime.split_for_impl();
    quote! {
        const _: () = {
            use ::framex_sdk::__private as private;

            #[automatically_derived]
            impl #impl_generics private::Untagged for #name #type_generics #where_clause {
                fn variant(&self) -> &'static str {
                    match self { #(#variants),* }
                }

                fn serialize_untagged<S: private::serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    Self::serialize(self, serializer)
                }
            }

            #[automatically_derived]
            impl #impl_generics private::serde::Serialize for #name #type_generics #where_clause {
                fn serialize<S: private::serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    private::serialize_untagged(self, serializer)
                }
            }

            #[automatically_derived]
            impl #impl_with_lifetime private::serde::Deserialize<'de> for #name #type_generics #where_clause {
                fn deserialize<D: private::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    Self::deserialize(deserializer)
                }
            }
        };
    }
}
