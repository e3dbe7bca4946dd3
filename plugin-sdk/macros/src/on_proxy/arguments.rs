//! The arguments of a marked function: some are passed by callers, some come from the context.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Error, Expr, FnArg, Ident, Meta, Pat, Result, Signature, Type};

use super::description;
use crate::model::{argument_of, bytes_attributes, is_bytes};
use crate::problems::Problems;

/// An argument that callers pass.
pub(super) struct Argument {
    pub(super) name: Ident,
    pub(super) ty: Type,
    default: DefaultValue,
    /// Its doc comment.
    description: String,
}

enum DefaultValue {
    /// Callers must pass it, unless it is an `Option`.
    None,
    /// `#[default]`.
    OfType,
    /// `#[default(expression)]`.
    Expression(Box<Expr>),
}

/// An argument marked `#[state]`.
pub(super) struct State {
    pub(super) name: Ident,
    /// The type that the context keeps.
    pub(super) ty: Type,
    is_reference: bool,
}

/// The arguments, split by where they come from.
pub(super) struct Arguments {
    pub(super) passed: Vec<Argument>,
    pub(super) states: Vec<State>,
    /// In the order of the signature: the name, and whether it is a state.
    order: Vec<(Ident, bool)>,
}

impl Arguments {
    /// Parses the arguments; each one with a problem is left out.
    pub(super) fn parse(signature: &Signature, problems: &mut Problems) -> Self {
        let mut arguments = Self { passed: Vec::new(), states: Vec::new(), order: Vec::new() };
        for input in &signature.inputs {
            problems.ok(arguments.take(input));
        }
        arguments
    }

    fn take(&mut self, input: &FnArg) -> Result<()> {
        let FnArg::Typed(typed) = input else {
            return Err(Error::new_spanned(
                input,
                "a marked function has no `self`: keep state in the context and take it as a `#[state]` argument",
            ));
        };
        let Pat::Ident(pattern) = &*typed.pat else {
            return Err(Error::new_spanned(
                &typed.pat,
                "an argument needs a plain name: callers pass it by that name",
            ));
        };
        let name = pattern.ident.clone();
        let is_state = typed.attrs.iter().any(|attribute| attribute.path().is_ident("state"));
        if is_state {
            self.states.push(State::new(name.clone(), &typed.ty)?);
        } else {
            self.passed.push(Argument::new(name.clone(), &typed.ty, &typed.attrs)?);
        }
        self.order.push((name, is_state));
        Ok(())
    }

    /// Removes the attributes that only this macro knows.
    pub(super) fn strip_attributes(signature: &mut Signature) {
        for input in &mut signature.inputs {
            if let FnArg::Typed(typed) = input {
                let is_known = |attribute: &Attribute| {
                    ["state", "default", "doc"].iter().any(|known| attribute.path().is_ident(known))
                };
                typed.attrs.retain(|attribute| !is_known(attribute));
            }
        }
    }

    /// The expressions that call the body, in the order of its signature.
    pub(super) fn in_order(&self) -> Vec<TokenStream> {
        let expression = |(name, is_state): &(Ident, bool)| {
            let state = self.states.iter().find(|state| *is_state && state.name == *name);
            match state {
                None => quote!(#name),
                Some(State { is_reference: true, .. }) => quote!(&*#name),
                Some(State { is_reference: false, .. }) => quote!(::core::clone::Clone::clone(&*#name)),
            }
        };
        self.order.iter().map(expression).collect()
    }

    /// The struct of named arguments, as it is on the wire.
    pub(super) fn wire_struct(&self) -> TokenStream {
        let fields = self.passed.iter().enumerate().map(|(index, Argument { name, ty, default, .. })| {
            let mut attributes = bytes_attributes(ty, !matches!(default, DefaultValue::None));
            attributes.retain(|attribute| attribute.path().is_ident("serde"));
            let default = match default {
                DefaultValue::None => None,
                DefaultValue::OfType => Some(quote!(#[serde(default)])),
                DefaultValue::Expression(_) => {
                    let path = format!("default_{index}");
                    Some(quote!(#[serde(default = #path)]))
                }
            };
            quote!(#(#attributes)* #default #name: #ty)
        });
        let defaults =
            self.passed.iter().enumerate().filter_map(|(index, argument)| match &argument.default {
                DefaultValue::Expression(expression) => {
                    let (function, ty) = (format_ident!("default_{index}"), &argument.ty);
                    Some(quote!(fn #function() -> #ty { #expression }))
                }
                _ => None,
            });
        quote! {
            #(#defaults)*

            #[derive(private::serde::Serialize, private::serde::Deserialize)]
            #[serde(crate = "::framex_sdk::__private::serde", deny_unknown_fields)]
            struct WireArguments { #(#fields),* }
        }
    }

    /// The schema of each passed argument.
    pub(super) fn schemas(&self) -> Vec<TokenStream> {
        let schema = |argument: &Argument| {
            let name = argument.name.to_string();
            let name = name.trim_start_matches("r#");
            let ty = &argument.ty;
            let required =
                matches!(argument.default, DefaultValue::None) && argument_of(ty, "Option").is_none();
            let description = &argument.description;
            let shown = if is_bytes(ty) {
                quote!(::framex_sdk::Bytes)
            } else if argument_of(ty, "Option").is_some_and(is_bytes) {
                quote!(::core::option::Option<::framex_sdk::Bytes>)
            } else {
                quote!(#ty)
            };
            quote! {
                private::ArgumentSchema {
                    name: #name,
                    description: #description,
                    schema: (&private::Probe::<#shown>::new()).schema(generator),
                    required: #required,
                }
            }
        };
        self.passed.iter().map(schema).collect()
    }
}

impl Argument {
    fn new(name: Ident, ty: &Type, attributes: &[Attribute]) -> Result<Self> {
        if let Type::Reference(reference) = ty {
            return Err(Error::new_spanned(
                reference,
                "an argument is an owned type (`String`, `Vec<T>`), as it may come from another host; \
                 mark a value from the plugin's own context with #[state]",
            ));
        }
        if let Type::ImplTrait(any) = ty {
            return Err(Error::new_spanned(
                any,
                "`impl Trait` is not allowed here: write the concrete type that the argument is decoded to, such as `String`",
            ));
        }
        let mut default = DefaultValue::None;
        // Attributes for the compiler stay with the body.
        let is_of_compiler = |attribute: &&Attribute| {
            ["doc", "allow", "expect", "warn", "deny", "forbid"]
                .iter()
                .any(|name| attribute.path().is_ident(name))
        };
        for attribute in attributes.iter().filter(|attribute| !is_of_compiler(attribute)) {
            if !attribute.path().is_ident("default") {
                return Err(Error::new_spanned(
                    attribute,
                    "an argument takes #[state], #[default], doc comments and lint attributes only",
                ));
            }
            default = match &attribute.meta {
                Meta::Path(_) => DefaultValue::OfType,
                Meta::List(list) => DefaultValue::Expression(Box::new(list.parse_args()?)),
                Meta::NameValue(pair) => DefaultValue::Expression(Box::new(pair.value.clone())),
            };
        }
        Ok(Self { name, ty: ty.clone(), default, description: description(attributes) })
    }
}

impl State {
    fn new(name: Ident, ty: &Type) -> Result<Self> {
        match ty {
            Type::Reference(reference) if reference.mutability.is_some() => Err(Error::new_spanned(
                reference,
                "state is shared by all calls: take `&T`, and put a lock or a pool inside",
            )),
            Type::Reference(reference) => {
                Ok(Self { name, ty: (*reference.elem).clone(), is_reference: true })
            }
            ty => Ok(Self { name, ty: ty.clone(), is_reference: false }),
        }
    }
}
