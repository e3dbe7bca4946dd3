//! Functions that return what they are given, one for each type.

use framex_sdk::prelude::*;

use crate::kinds::*;

macro_rules! echo {
    ($($name:tt $function:ident: $type:ty = [$($value:expr),* $(,)?];)*) => {
        $(
            #[on_proxy(name = $name)]
            pub async fn $function(
                /// The value to return.
                value: $type,
            ) -> Result<$type> {
                Ok(value)
            }
        )*

        pub(crate) fn register(ctx: &Context) -> Result<()> {
            $(ctx.register_proxy_func::<$function>()?;)*
            ctx.register_proxy_func::<here>()
        }

        /// Calls all of them from within their plugin; returns what is not the same again.
        #[on_proxy]
        pub async fn here() -> Result<Vec<String>> {
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

kinds!(echo);
