//! What stands in the parentheses of `#[on_proxy(...)]`.

use proc_macro2::{Span, TokenStream};
use syn::parse::{ParseStream, Parser};
use syn::{Error, LitInt, LitStr, Path, Result, Token};

/// Parsed options; a span says where a flag was written.
#[derive(Default)]
pub(super) struct Options {
    pub(super) name: Option<LitStr>,
    pub(super) timeout_ms: Option<LitInt>,
    pub(super) max_concurrency: Option<LitInt>,
    pub(super) max_queue: Option<LitInt>,
    /// The outermost first.
    pub(super) layers: Vec<Path>,
    pub(super) idempotent: Option<Span>,
    pub(super) blocking: Option<Span>,
}

impl Options {
    pub(super) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        syn::meta::parser(|meta| {
            let span = meta.path.get_ident().map_or_else(Span::call_site, syn::Ident::span);
            match meta.path.get_ident().map(ToString::to_string).unwrap_or_default().as_str() {
                "name" => options.name = Some(checked_name(meta.value()?.parse()?)?),
                "timeout_ms" => options.timeout_ms = Some(positive::<u64>(meta.value()?.parse()?)?),
                "max_concurrency" => options.max_concurrency = Some(positive::<u32>(meta.value()?.parse()?)?),
                "max_queue" => options.max_queue = Some(queue(meta.value()?.parse()?)?),
                "layer" => options.layers.push(layer(meta.value()?)?),
                "idempotent" => options.idempotent = Some(span),
                "blocking" => options.blocking = Some(span),
                _ => {
                    return Err(meta.error(
                        "#[on_proxy] takes `name = \"...\"`, `idempotent`, `timeout_ms = N`, `max_concurrency = N`, `max_queue = N`, `layer = function`, `blocking`",
                    ));
                }
            }
            Ok(())
        })
        .parse2(tokens)?;
        if let (Some(max_queue), None) = (&options.max_queue, &options.max_concurrency) {
            return Err(Error::new_spanned(
                max_queue,
                "nothing waits where nothing limits: write `max_concurrency = N` as well",
            ));
        }
        Ok(options)
    }
}

fn checked_name(name: LitStr) -> Result<LitStr> {
    let text = name.value();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(allowed);
    if fits && text.split('.').all(|part| !part.is_empty()) {
        return Ok(name);
    }
    Err(Error::new_spanned(
        name,
        "a function's name is 1 to 255 characters of A-Z a-z 0-9 _ - in parts joined by single dots",
    ))
}

/// A layer is named as it would be called.
fn layer(input: ParseStream<'_>) -> Result<Path> {
    let begin = input.fork();
    let path = input.call(Path::parse_mod_style);
    match path {
        Ok(path) if input.is_empty() || input.peek(Token![,]) => Ok(path),
        _ => Err(begin.error(
            "a layer is an async function, by its name alone: `layer = timed` or `layer = layers::timed`",
        )),
    }
}

fn queue(number: LitInt) -> Result<LitInt> {
    number.base10_parse::<u32>()?;
    Ok(number)
}

fn positive<N: std::str::FromStr<Err: std::fmt::Display> + PartialEq + Default>(
    number: LitInt,
) -> Result<LitInt> {
    if number.base10_parse::<N>()? == N::default() {
        return Err(Error::new_spanned(
            number,
            "zero would let no call through: leave the option out for no limit",
        ));
    }
    Ok(number)
}
