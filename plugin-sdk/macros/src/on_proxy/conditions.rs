//! Arguments under a condition: `#[cfg(..)]` and `#[cfg_attr(..)]`.
//!
//! The compiler has not looked at them when an attribute sees its function, so the function is written twice, with the
//! argument as it is if the condition holds, and as it is if not; the compiler keeps one of them. Each takes care of the
//! next condition in its turn.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::{Attribute, FnArg, Meta, Result, Signature, Token, parse_quote};

use super::Function;

/// One condition, and the argument that it is on.
pub(super) struct Condition {
    place: usize,
    predicate: Meta,
    /// The attributes that `#[cfg_attr(..)]` adds if it holds; `None`: the whole argument depends on it.
    attributes: Option<Vec<Meta>>,
}

/// Takes the first condition out of a signature.
pub(super) fn first(signature: &mut Signature) -> Result<Option<Condition>> {
    for (place, input) in signature.inputs.iter_mut().enumerate() {
        let FnArg::Typed(typed) = input else { continue };
        let is_condition =
            |attribute: &Attribute| attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr");
        let Some(at) = typed.attrs.iter().position(is_condition) else { continue };
        let attribute = typed.attrs.remove(at);
        let is_cfg = attribute.path().is_ident("cfg");
        let mut parts =
            attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?.into_iter();
        let Some(predicate) = parts.next() else {
            return Err(syn::Error::new_spanned(attribute, "a condition is missing"));
        };
        return Ok(Some(Condition { place, predicate, attributes: (!is_cfg).then(|| parts.collect()) }));
    }
    Ok(None)
}

impl Condition {
    /// The function for each outcome of the condition.
    pub(super) fn both(&self, options: &TokenStream, function: &Function) -> TokenStream {
        let Self { place, predicate, attributes } = self;
        let mut with = function.signature.clone();
        if let Some(FnArg::Typed(typed)) = with.inputs.iter_mut().nth(*place) {
            let added = attributes.iter().flatten();
            typed.attrs.extend(added.map(|meta| -> Attribute { parse_quote!(#[#meta]) }));
        }
        let mut without = function.signature.clone();
        if attributes.is_none() {
            let inputs = without.inputs.into_iter().enumerate();
            without.inputs = inputs.filter(|(at, _)| at != place).map(|(_, input)| input).collect();
        }
        let marked = |signature| {
            let function = Function { signature, ..function.clone() };
            let function = function.to_token_stream();
            quote!(#[::framex_sdk::on_proxy(#options)] #function)
        };
        let (with, without) = (marked(with), marked(without));
        quote! {
            #[cfg(#predicate)]
            #with
            #[cfg(not(#predicate))]
            #without
        }
    }
}
