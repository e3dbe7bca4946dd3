//! The options in the parentheses of `#[on_proxy(...)]`.

use proc_macro2::{TokenStream, TokenTree};
use syn::meta::ParseNestedMeta;
use syn::parse::{ParseStream, Parser};
use syn::{Error, LitInt, LitStr, Path, Result, Token};

use super::Function;
use crate::problems::Problems;

/// Parsed options.
#[derive(Default)]
pub(super) struct Options {
    pub(super) name: Option<LitStr>,
    pub(super) timeout_ms: Option<LitInt>,
    pub(super) max_concurrency: Option<LitInt>,
    pub(super) max_queue: Option<LitInt>,
    /// The outermost first.
    pub(super) layers: Vec<Path>,
    pub(super) idempotent: bool,
    pub(super) blocking: bool,
    /// The options that are written, also those with a problem.
    written: Vec<String>,
}

impl Options {
    /// Parses the options; each one with a problem is left out.
    pub(super) fn parse(tokens: TokenStream, function: &Function, problems: &mut Problems) -> Self {
        let mut options = Self::default();
        for option in separate(tokens) {
            problems.ok(syn::meta::parser(|meta| options.take(&meta)).parse2(option));
        }
        options.check(function, problems);
        options
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let option = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        self.written.push(option.clone());
        match option.as_str() {
            "name" => self.name = Some(checked_name(value(meta, "\"plugin.module.function\"")?.parse()?)?),
            "timeout_ms" => self.timeout_ms = Some(positive(value(meta, "500")?, u64::MAX)?),
            "max_concurrency" => self.max_concurrency = Some(positive(value(meta, "8")?, u32::MAX.into())?),
            "max_queue" => self.max_queue = Some(number(value(meta, "32")?, u32::MAX.into())?.0),
            "layer" => self.layers.push(layer(value(meta, "timed")?)?),
            "idempotent" => {
                self.idempotent = true;
                alone(meta)?;
            }
            "blocking" => {
                self.blocking = true;
                alone(meta)?;
            }
            _ => {
                return Err(meta.error(
                    "#[on_proxy] takes `name = \"...\"`, `idempotent`, `timeout_ms = N`, `max_concurrency = N`, `max_queue = N`, `layer = function`, `blocking`",
                ));
            }
        }
        Ok(())
    }

    /// Checks the options against each other and against the function.
    fn check(&self, function: &Function, problems: &mut Problems) {
        if let (Some(max_queue), false) = (&self.max_queue, self.has("max_concurrency")) {
            problems
                .at(max_queue, "`max_queue` needs `max_concurrency`: write `max_concurrency = N` as well");
        }
        if function.block.is_some() {
            return;
        }
        if let Some(layer) = self.layers.first() {
            problems.at(layer, "a function without a body cannot have layers: put them where the body is");
        }
        if !self.has("name") {
            problems.at(
                &function.signature.ident,
                "a function without a body needs the name of the function that it calls: #[on_proxy(name = \"plugin.module.function\")]",
            );
        }
    }

    fn has(&self, option: &str) -> bool {
        self.written.iter().any(|written| written == option)
    }
}

/// Splits options at their commas, so that a problem in one leaves the others.
fn separate(tokens: TokenStream) -> Vec<TokenStream> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
    tokens.split(is_comma).map(|option| option.iter().cloned().collect()).collect()
}

/// Returns the input behind the `=` of an option.
fn value<'a>(meta: &ParseNestedMeta<'a>, example: &str) -> Result<ParseStream<'a>> {
    if meta.input.peek(Token![=]) {
        return meta.value();
    }
    let option = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
    Err(Error::new_spanned(&meta.path, format!("`{option}` takes a value, such as `{option} = {example}`")))
}

/// Checks that an option has no value.
fn alone(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.is_empty() {
        return Ok(());
    }
    let option = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
    Err(meta.input.error(format!("`{option}` takes no value: write `{option}` alone, or leave it out")))
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

/// Parses a layer, which is named as it would be called.
fn layer(input: ParseStream<'_>) -> Result<Path> {
    let begin = input.fork();
    let path = input.call(Path::parse_mod_style);
    match path {
        Ok(path) if input.is_empty() => Ok(path),
        _ => Err(begin.error(
            "a layer is an async function, by its name alone: `layer = timed` or `layer = layers::timed`",
        )),
    }
}

fn number(input: ParseStream<'_>, max: u64) -> Result<(LitInt, u64)> {
    let literal: LitInt = input.parse()?;
    match literal.base10_parse::<u64>() {
        Ok(number) if number <= max => Ok((literal, number)),
        _ => Err(Error::new_spanned(literal, format!("the value is a whole number up to {max}"))),
    }
}

fn positive(input: ParseStream<'_>, max: u64) -> Result<LitInt> {
    match number(input, max)? {
        (literal, 0) => Err(Error::new_spanned(
            literal,
            "with zero, no call could run: leave the option out for no limit",
        )),
        (literal, _) => Ok(literal),
    }
}
