//! The document's own example: a plugin that registers one function when it starts.

pub mod some;

use framex_sdk::prelude::*;

#[derive(Default)]
struct ExamplePlugin;

#[plugin]
impl Plugin for ExamplePlugin {
    async fn on_start(&mut self, ctx: &Context) -> Result<()> {
        // The document's "lazy import".
        use crate::some::example_func;
        ctx.register_proxy_func::<example_func>()
    }
}
