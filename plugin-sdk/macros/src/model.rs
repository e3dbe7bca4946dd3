//! `#[model]`.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, Path, Result, Token, Type, parse_quote};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "#[model] takes no arguments"));
    }
    let mut input: DeriveInput = syn::parse2(item)?;
    if let Data::Union(union) = &input.data {
        return Err(Error::new_spanned(union.union_token, "a #[model] is a struct or an enum"));
    }
    add_derives(&mut input)?;
    for field in fields_of(&mut input.data) {
        mark_bytes(field);
    }
    Ok(input.into_token_stream())
}

/// Adds the derives that the author did not write.
pub(crate) fn add_derives(input: &mut DeriveInput) -> Result<()> {
    let written = derives_of(&input.attrs)?;
    let wanted: [(&str, Path); 5] = [
        ("Debug", parse_quote!(::core::fmt::Debug)),
        ("Clone", parse_quote!(::core::clone::Clone)),
        ("Serialize", parse_quote!(::framex_sdk::__private::serde::Serialize)),
        ("Deserialize", parse_quote!(::framex_sdk::__private::serde::Deserialize)),
        ("JsonSchema", parse_quote!(::framex_sdk::__private::schemars::JsonSchema)),
    ];
    let is_missing =
        |name: &str| !written.iter().any(|path| path.segments.last().is_some_and(|last| last.ident == name));
    let missing: Vec<&(&str, Path)> = wanted.iter().filter(|(name, _)| is_missing(name)).collect();
    let paths = missing.iter().map(|(_, path)| path);
    let mut attributes: Vec<Attribute> = vec![parse_quote!(#[derive(#(#paths),*)])];
    if missing.iter().any(|(name, _)| *name == "Serialize" || *name == "Deserialize") {
        attributes.push(parse_quote!(#[serde(crate = "::framex_sdk::__private::serde")]));
    }
    if missing.iter().any(|(name, _)| *name == "JsonSchema") {
        attributes.push(parse_quote!(#[schemars(crate = "::framex_sdk::__private::schemars")]));
    }
    attributes.append(&mut input.attrs);
    input.attrs = attributes;
    Ok(())
}

fn derives_of(attributes: &[Attribute]) -> Result<Vec<Path>> {
    let mut derives = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        derives.extend(attribute.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated)?);
    }
    Ok(derives)
}

fn fields_of(data: &mut Data) -> Vec<&mut Field> {
    fn of(fields: &mut Fields) -> impl Iterator<Item = &mut Field> {
        fields.iter_mut()
    }
    match data {
        Data::Struct(data) => of(&mut data.fields).collect(),
        Data::Enum(data) => data.variants.iter_mut().flat_map(|variant| of(&mut variant.fields)).collect(),
        Data::Union(_) => Vec::new(),
    }
}

/// Sends a field written `Vec<u8>` or `Option<Vec<u8>>` as bytes, unless the author chose a form.
fn mark_bytes(field: &mut Field) {
    let chosen = field.attrs.iter().any(|attribute| {
        attribute.path().is_ident("serde") && attribute.to_token_stream().to_string().contains("with")
    });
    if !chosen {
        field.attrs.extend(bytes_attributes(&field.ty));
    }
}

/// The serde attributes that make `Vec<u8>` and `Option<Vec<u8>>` travel as bytes; none for other types.
pub(crate) fn bytes_attributes(ty: &Type) -> Vec<Attribute> {
    if is_bytes(ty) {
        vec![
            parse_quote!(#[serde(with = "::framex_sdk::__private::bytes_field")]),
            parse_quote!(#[schemars(with = "::framex_sdk::Bytes")]),
        ]
    } else if argument_of(ty, "Option").is_some_and(is_bytes) {
        vec![
            parse_quote!(#[serde(default, with = "::framex_sdk::__private::optional_bytes_field")]),
            parse_quote!(#[schemars(with = "::core::option::Option<::framex_sdk::Bytes>")]),
        ]
    } else {
        Vec::new()
    }
}

/// Whether a type is written `Vec<u8>`.
pub(crate) fn is_bytes(ty: &Type) -> bool {
    let element = argument_of(ty, "Vec");
    element.is_some_and(|element| matches!(element, Type::Path(path) if path.path.is_ident("u8")))
}

/// `T` of a type written `name<T>`.
pub(crate) fn argument_of<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(syn::GenericArgument::Type(argument)) => Some(argument),
        _ => None,
    }
}
