//! `#[model]`.

mod untagged;

use proc_macro2::{Group, TokenStream};
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::{Attribute, Data, DeriveInput, Expr, Field, Fields, Path, Result, Token, Type, parse_quote, token};

use crate::problems::Problems;

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut problems = Problems::default();
    if !arguments.is_empty() {
        problems.at(arguments, "#[model] takes no arguments");
    }
    let Some(mut input) = problems.ok(syn::parse2::<DeriveInput>(item.clone())) else {
        return quote!(#problems #item);
    };
    if let Data::Union(union) = &input.data {
        problems.at(union.union_token, "a #[model] is a struct or an enum");
        return quote!(#problems #item);
    }
    let is_untagged = untagged::is_untagged(&input);
    let is_ours = problems.ok(add_derives(&mut input)).unwrap_or(false);
    for field in fields_of(&mut input.data) {
        let attributes = FieldAttributes::of(field, &mut problems);
        if attributes.chosen {
            continue;
        }
        // Bytes are text in JSON, so without a tag they are numbers.
        if !is_untagged {
            field.attrs.extend(bytes_attributes(&field.ty, attributes.default));
        }
        field.attrs.extend(wide_attributes(&field.ty, attributes.default));
    }
    let checks = (is_untagged && is_ours).then(|| untagged::checks(&mut input));
    quote!(#problems #input #checks)
}

/// Adds the derives that the author did not write; returns true if serde's are among them.
pub(crate) fn add_derives(input: &mut DeriveInput) -> Result<bool> {
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
    Ok(["Serialize", "Deserialize"].into_iter().all(is_missing))
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

/// The author's serde attributes of a field.
#[derive(Default)]
struct FieldAttributes {
    /// The form that it has.
    chosen: bool,
    /// A value where it is missing.
    default: bool,
}

impl FieldAttributes {
    fn of(field: &Field, problems: &mut Problems) -> Self {
        let mut found = Self::default();
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            let read = attribute.parse_nested_meta(|meta| {
                match meta.path.get_ident().map(ToString::to_string).unwrap_or_default().as_str() {
                    "with" | "serialize_with" | "deserialize_with" => found.chosen = true,
                    "default" => found.default = true,
                    "skip" | "skip_serializing" | "skip_deserializing" => {
                        return Err(meta.error(
                            "a skipped field would be lost where the function runs elsewhere: leave it out of the type",
                        ));
                    }
                    _ => {}
                }
                if meta.input.peek(Token![=]) {
                    meta.value()?.parse::<Expr>()?;
                } else if meta.input.peek(token::Paren) {
                    meta.input.parse::<Group>()?;
                }
                Ok(())
            });
            problems.ok(read);
        }
        found
    }
}

/// The serde attributes that make `Vec<u8>` and `Option<Vec<u8>>` travel as bytes; none for other types.
pub(crate) fn bytes_attributes(ty: &Type, has_default: bool) -> Vec<Attribute> {
    if is_bytes(ty) {
        vec![
            parse_quote!(#[serde(with = "::framex_sdk::__private::bytes_field")]),
            parse_quote!(#[schemars(with = "::framex_sdk::Bytes")]),
        ]
    } else if argument_of(ty, "Option").is_some_and(is_bytes) {
        let mut attributes = vec![
            parse_quote!(#[serde(with = "::framex_sdk::__private::optional_bytes_field")]),
            parse_quote!(#[schemars(with = "::core::option::Option<::framex_sdk::Bytes>")]),
        ];
        attributes.extend(missing_is_none(has_default));
        attributes
    } else {
        Vec::new()
    }
}

/// The serde attributes for fields of 128-bit integers, which serde itself loses in some enums and structs.
fn wide_attributes(ty: &Type, has_default: bool) -> Vec<Attribute> {
    if !is_wide(ty) {
        return Vec::new();
    }
    let shown = ty.to_token_stream().to_string();
    let mut attributes = vec![
        parse_quote!(#[serde(with = "::framex_sdk::__private::wide_field")]),
        parse_quote!(#[schemars(with = #shown)]),
    ];
    if argument_of(ty, "Option").is_some() {
        attributes.extend(missing_is_none(has_default));
    }
    attributes
}

/// An `Option` with a form of its own has no value where it is missing, unless one is named.
fn missing_is_none(has_default: bool) -> Option<Attribute> {
    (!has_default).then(|| parse_quote!(#[serde(default)]))
}

/// Returns true for a type written `u128` or `i128`, or as an `Option` or `Vec` of it.
fn is_wide(ty: &Type) -> bool {
    match argument_of(ty, "Option").or_else(|| argument_of(ty, "Vec")) {
        Some(inner) => is_wide(inner),
        None => {
            matches!(bare(ty), Type::Path(path) if path.path.is_ident("u128") || path.path.is_ident("i128"))
        }
    }
}

/// Returns true for a type written `Vec<u8>`.
pub(crate) fn is_bytes(ty: &Type) -> bool {
    let element = argument_of(ty, "Vec");
    element.is_some_and(|element| matches!(bare(element), Type::Path(path) if path.path.is_ident("u8")))
}

/// A type without parentheses, and without the invisible ones around what a `macro_rules!` passes on.
fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        ty => ty,
    }
}

/// `T` of a type written `name<T>`.
pub(crate) fn argument_of<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = bare(ty) else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(syn::GenericArgument::Type(argument)) => Some(argument),
        _ => None,
    }
}
