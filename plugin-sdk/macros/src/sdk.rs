//! The name by which a plugin knows the SDK.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Group, Ident, Literal, TokenStream, TokenTree};

/// The SDK's name in the output of the macros.
const WRITTEN: &str = "framex_sdk";

/// Names the SDK in an expansion as the plugin's Cargo.toml does.
pub(crate) fn named(expansion: TokenStream) -> TokenStream {
    match crate_name("framex-sdk") {
        Ok(FoundCrate::Name(name)) if name != WRITTEN => renamed(expansion, &name),
        _ => expansion,
    }
}

/// Replaces `framex_sdk` after `::`, in tokens and in the paths that serde and schemars take as text.
fn renamed(tokens: TokenStream, name: &str) -> TokenStream {
    let mut after_colon = false;
    let rename = |token: TokenTree| {
        let is_path = std::mem::replace(
            &mut after_colon,
            matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ':'),
        );
        match token {
            TokenTree::Ident(ident) if is_path && ident == WRITTEN => Ident::new(name, ident.span()).into(),
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), renamed(group.stream(), name));
                inner.set_span(group.span());
                inner.into()
            }
            TokenTree::Literal(literal) => {
                let (written, path) = (literal.to_string(), format!("::{WRITTEN}::"));
                // Paths have no escapes; text with some is the author's.
                let text = written.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                match text.filter(|text| text.contains(&path) && !text.contains([' ', '\\'])) {
                    Some(text) => {
                        let mut renamed = Literal::string(&text.replace(&path, &format!("::{name}::")));
                        renamed.set_span(literal.span());
                        renamed.into()
                    }
                    None => literal.into(),
                }
            }
            token => token,
        }
    };
    tokens.into_iter().map(rename).collect()
}
