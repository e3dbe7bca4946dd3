//! A plugin for tests: calls the functions of `types` from outside.

#![allow(missing_docs, clippy::missing_errors_doc, reason = "as in `types`")]

#[path = "../../types/src/kinds.rs"]
pub mod kinds;

use plugin_sdk as sdk;
use plugin_sdk::prelude::*;

use kinds::*;

macro_rules! calls {
    ($($name:tt $function:ident: $type:ty = [$($value:expr),* $(,)?];)*) => {
        $(
            #[on_proxy(name = $name)]
            pub async fn $function(value: $type) -> Result<$type>;
        )*

        /// Calls all of them; returns what is not the same again.
        #[on_proxy]
        pub async fn outside() -> Result<Vec<String>> {
            let mut other = Vec::new();
            $($(
                let value: $type = $value;
                let sent = format!("{value:?}");
                match $function(value).await {
                    Ok(value) if format!("{value:?}") == sent => {}
                    answer => other.push(format!("{}: {sent} came back as {answer:?}", stringify!($function))),
                }
            )*)*
            Ok(other)
        }
    };
}

kinds!(calls);

/// Sends what would arrive as another value; returns the refusals.
#[on_proxy]
pub async fn refused() -> Result<Vec<String>> {
    let mut answers = Vec::new();
    for value in [Ambiguous::Large(1), Ambiguous::Text("AQID".to_owned())] {
        answers.push(match ambiguous(value).await {
            Ok(value) => format!("{value:?}"),
            Err(error) => error.to_string(),
        });
    }
    answers.push(match open(Open::Other("Known".to_owned())).await {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.to_string(),
    });
    Ok(answers)
}

#[derive(Default)]
struct TypeCalls;

#[plugin]
impl Plugin for TypeCalls {
    async fn on_start(&mut self, ctx: &Context) -> Result<()> {
        ctx.register_proxy_func::<outside>()?;
        ctx.register_proxy_func::<refused>()
    }
}
