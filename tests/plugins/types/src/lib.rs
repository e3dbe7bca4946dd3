//! A plugin for tests: a function for each kind of type.
#![forbid(unsafe_code)]
#![allow(missing_docs, clippy::missing_errors_doc, reason = "the types of the functions say what they do")]

pub mod echo;
pub mod kinds;
pub mod odd;

use framex_sdk as sdk;
use framex_sdk::prelude::*;

#[derive(Default)]
struct Types;

#[plugin]
impl Plugin for Types {
    async fn on_start(&mut self, ctx: &Context) -> Result<()> {
        echo::register(ctx)?;
        odd::register(ctx)
    }
}
