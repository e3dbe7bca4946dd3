//! A plugin for tests: with an allocator of its own, mimalloc.

pub mod functions;

use framex_sdk::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Default)]
struct Allocates;

#[plugin]
impl Plugin for Allocates {
    async fn on_start(&mut self, ctx: &Context) -> Result<()> {
        ctx.register_proxy_func::<functions::allocates>()
    }
}
