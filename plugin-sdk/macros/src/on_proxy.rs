//! `#[on_proxy]`: keeps the function callable by its own name, and makes a type of the same name that
//! `register_proxy_func` takes.

mod arguments;
mod conditions;
mod kept;
mod options;
mod signature;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{
    Attribute, Block, Error, Expr, ExprLit, Ident, Lit, Meta, Result, Signature, Token, Type, Visibility,
};

use arguments::{Argument, Arguments};
use options::Options;
use signature::ResultType;

use crate::model::is_bytes;
use crate::problems::Problems;

/// A function, with a body or without.
#[derive(Clone)]
struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    signature: Signature,
    block: Option<Block>,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let signature = input.parse()?;
        let block = if input.peek(Token![;]) {
            input.parse::<Token![;]>()?;
            None
        } else {
            Some(input.parse()?)
        };
        Ok(Self { attributes, visibility, signature, block })
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attributes, visibility, signature, block } = self;
        let body = block.as_ref().map_or_else(|| quote!(;), |block| quote!(#block));
        tokens.extend(quote!(#(#attributes)* #visibility #signature #body));
    }
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let message = format!("#[on_proxy] goes on a function outside of any impl block: {error}");
            let error = Error::new(error.span(), message).to_compile_error();
            return quote!(#error #item);
        }
    };
    let mut problems = Problems::default();
    if let Some(condition) = problems.ok(conditions::first(&mut function.signature)).flatten() {
        return condition.both(&arguments, &function);
    }
    let options = Options::parse(arguments, &function, &mut problems);
    let mut problems_of_signature = Problems::default();
    let result = signature::check(&function, &options, &mut problems_of_signature);
    let arguments = Arguments::parse(&function.signature, &mut problems_of_signature);
    let function = match result {
        // A function whose options alone are wrong becomes what it would be without these.
        Some(result) if problems_of_signature.is_empty() => {
            Expansion { options, function, result, arguments }.tokens()
        }
        _ => kept::kept(&function),
    };
    quote!(#problems #problems_of_signature #function)
}

struct Expansion {
    options: Options,
    function: Function,
    result: ResultType,
    arguments: Arguments,
}

impl Expansion {
    fn tokens(&self) -> TokenStream {
        let caller = self.caller();
        let marker = marker(&self.function.visibility, &self.function.signature.ident);
        let implementation = self.implementation();
        quote! {
            #caller
            #marker
            const _: () = { #implementation };
        }
    }

    /// The function that other code calls.
    fn caller(&self) -> TokenStream {
        let Self { function, result, .. } = self;
        let (visibility, name, whole) = (&function.visibility, &function.signature.ident, &result.whole);
        let parameters = self.arguments.passed.iter().map(|Argument { name, ty, .. }| quote!(#name: #ty));
        let names = self.arguments.passed.iter().map(|argument| &argument.name);
        let docs = function.attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
        quote! {
            #(#docs)*
            #visibility async fn #name(#(#parameters),*) -> #whole {
                ::framex_sdk::__private::invoke::<#name>((#(#names,)*)).await
            }
        }
    }

    fn implementation(&self) -> TokenStream {
        let Self { arguments, result, .. } = self;
        let name = &self.function.signature.ident;
        let whole = &result.whole;
        let value = &result.value;
        let body_function = self.body_function();
        // Statics have no `Self`.
        let this_function = (!self.options.layers.is_empty()).then(|| quote!(type ThisFunction = #name;));
        let body = self.body_method();
        let definition = self.definition();
        let wire_struct = arguments.wire_struct();
        let passed_names: Vec<&Ident> = arguments.passed.iter().map(|argument| &argument.name).collect();
        let passed_types: Vec<&Type> = arguments.passed.iter().map(|argument| &argument.ty).collect();
        let state_types = arguments.states.iter().map(|state| &state.ty);
        let state_lookups = arguments.states.iter().map(|state| {
            let ty = &state.ty;
            quote!(::framex_sdk::__private::state::<#ty>()?)
        });
        let argument_schemas = arguments.schemas();
        let (encode_result, decode_result) = if is_bytes(value) {
            (quote!(result_bytes_to), quote!(result_bytes_from))
        } else {
            (quote!(result_to), quote!(result_from))
        };
        let schema_of_result = if is_bytes(value) { quote!(::framex_sdk::Bytes) } else { quote!(#value) };
        quote! {
            use ::framex_sdk::__private as private;

            #body_function
            #wire_struct

            static CELL: private::FunctionCell = private::FunctionCell::new();
            #this_function

            #[automatically_derived]
            impl ::framex_sdk::ProxyFunction for #name {
                const DEFINITION: private::Definition = #definition;
                type Arguments = (#(#passed_types,)*);
                type States = (#(::std::sync::Arc<#state_types>,)*);
                type Output = <#whole as private::ResultParts>::Value;
                type Error = <#whole as private::ResultParts>::Error;

                fn cell() -> &'static private::FunctionCell {
                    &CELL
                }

                fn states() -> ::core::result::Result<Self::States, ::framex_sdk::CallError> {
                    ::core::result::Result::Ok((#(#state_lookups,)*))
                }

                #body

                fn encode_arguments(
                    arguments: Self::Arguments,
                ) -> ::core::result::Result<::std::vec::Vec<u8>, ::framex_sdk::CallError> {
                    let (#(#passed_names,)*) = arguments;
                    private::arguments_to(&WireArguments { #(#passed_names),* })
                }

                fn decode_arguments(
                    bytes: &[u8],
                ) -> ::core::result::Result<Self::Arguments, ::framex_sdk::CallError> {
                    let WireArguments { #(#passed_names),* } = private::arguments_from(bytes)?;
                    ::core::result::Result::Ok((#(#passed_names,)*))
                }

                fn encode_result(
                    result: Self::Output,
                ) -> ::core::result::Result<::std::vec::Vec<u8>, ::framex_sdk::CallError> {
                    private::#encode_result(result)
                }

                fn decode_result(bytes: &[u8]) -> ::core::result::Result<Self::Output, ::framex_sdk::CallError> {
                    private::#decode_result(bytes)
                }

                #[allow(unused_imports, unused_variables)]
                fn arguments_schema(
                    generator: &mut private::schemars::SchemaGenerator,
                ) -> private::serde_json::Value {
                    use private::{ViaAny as _, ViaSchema as _};
                    private::arguments_schema(::std::vec![#(#argument_schemas),*])
                }

                #[allow(unused_imports)]
                fn result_schema(
                    generator: &mut private::schemars::SchemaGenerator,
                ) -> private::serde_json::Value {
                    use private::{ViaAny as _, ViaSchema as _};
                    (&private::Probe::<#schema_of_result>::new()).schema(generator)
                }
            }
        }
    }

    /// The author's function under another name, with the attributes that stand below `#[on_proxy]`.
    fn body_function(&self) -> TokenStream {
        let Some(block) = &self.function.block else { return TokenStream::new() };
        let attributes =
            self.function.attributes.iter().filter(|attribute| !attribute.path().is_ident("doc"));
        let mut signature = self.function.signature.clone();
        signature.ident = body_of(&signature.ident);
        Arguments::strip_attributes(&mut signature);
        quote! {
            #(#attributes)*
            #signature #block
        }
    }

    fn body_method(&self) -> TokenStream {
        let body = body_of(&self.function.signature.ident);
        let passed = self.arguments.passed.iter().map(|argument| &argument.name);
        let states: Vec<&Ident> = self.arguments.states.iter().map(|state| &state.name).collect();
        let in_order = self.arguments.in_order();
        let run = match (&self.function.block, self.options.blocking) {
            (None, _) => quote! {
                private::invoke_remote::<Self>((#(#passed,)*)).await
            },
            (Some(_), true) => quote!(private::blocking(move || #body(#(#in_order),*)).await),
            (Some(_), false) => quote!(#body(#(#in_order),*).await),
        };
        let run = self.layered(run);
        let passed = self.arguments.passed.iter().map(|argument| &argument.name);
        quote! {
            async fn body(
                (#(#passed,)*): Self::Arguments,
                (#(#states,)*): Self::States,
            ) -> ::core::result::Result<Self::Output, Self::Error> {
                #run
            }
        }
    }

    /// The expression that runs the body in its layers: the first one is the outermost.
    fn layered(&self, run: TokenStream) -> TokenStream {
        if self.options.layers.is_empty() {
            return run;
        }
        let body = quote!(async move { #run });
        let layered = self.options.layers.iter().rev().fold(body, |inner, layer| {
            let name = quote!(#layer).to_string().replace(' ', "");
            // Errors of the compiler point at the layer's name in the attribute.
            let span = Span::call_site().located_at(layer.span());
            let call = quote_spanned! {span=>
                let __layered: ::framex_sdk::Layered<'_, _, _> = #layer(__LAYER.call(), __slot.next()).await;
            };
            quote! {{
                static __LAYER: private::Layer = private::Layer::new(
                    #name,
                    <ThisFunction as ::framex_sdk::ProxyFunction>::DEFINITION.name,
                    &CELL,
                );
                let __inner = #inner;
                async move {
                    let __slot = private::Slot::new(__inner);
                    let __layer = async {
                        #call
                        __layered
                    };
                    __LAYER.around(&__slot, __layer).await
                }
            }}
        });
        // Types of futures inside each other are as deep as the compiler goes, in plugins that ask a database.
        quote!(private::boxed(#layered).await)
    }

    fn definition(&self) -> TokenStream {
        let Options { name, timeout_ms, max_concurrency, max_queue, idempotent, .. } = &self.options;
        let function = self.function.signature.ident.to_string();
        let function = function.trim_start_matches("r#");
        let name = match name {
            Some(name) => quote!(#name),
            None => quote! {{
                const LEN: usize = private::dotted_len(::core::module_path!(), #function);
                const BYTES: [u8; LEN] = private::dotted(::core::module_path!(), #function);
                match ::core::str::from_utf8(&BYTES) {
                    ::core::result::Result::Ok(name) => name,
                    ::core::result::Result::Err(_) => ::core::panic!("a path in Rust is UTF-8"),
                }
            }},
        };
        let description = description(&self.function.attributes);
        let timeout_ms = match timeout_ms {
            Some(timeout_ms) => quote!(::core::option::Option::Some(#timeout_ms)),
            None => quote!(::core::option::Option::None),
        };
        let max_concurrency = max_concurrency.as_ref().map_or_else(|| quote!(0), |limit| quote!(#limit));
        let max_queue = max_queue.as_ref().map_or_else(|| quote!(0), |limit| quote!(#limit));
        quote! {
            private::Definition {
                name: #name,
                description: #description,
                idempotent: #idempotent,
                timeout_ms: #timeout_ms,
                max_concurrency: #max_concurrency,
                max_queue: #max_queue,
            }
        }
    }
}

/// The type of a function's name, for `register_proxy_func`.
fn marker(visibility: &Visibility, name: &Ident) -> TokenStream {
    let doc = format!("Names the function [`fn@{name}`] to `Context::register_proxy_func`.");
    quote! {
        #[doc = #doc]
        #[allow(non_camel_case_types, clippy::empty_structs_with_brackets)]
        #[derive(Debug)]
        #visibility struct #name {}
    }
}

/// The name of the author's function beside the one that callers see.
fn body_of(name: &Ident) -> Ident {
    format_ident!("body_of_{}", name, span = name.span())
}

/// The doc comment as text, up to its first heading.
fn description(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    // Sections like "# Errors" are for readers of the Rust documentation.
    let before_sections = lines.take_while(|line| !line.starts_with("# "));
    before_sections.collect::<Vec<_>>().join("\n").trim().to_owned()
}
