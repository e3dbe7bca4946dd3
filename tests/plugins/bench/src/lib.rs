//! A plugin for measurements: what a call costs, from inside.

pub mod calls;

use framex_sdk::prelude::*;

#[derive(Default)]
struct Bench;

#[plugin]
impl Plugin for Bench {
    async fn on_start(&mut self, ctx: &Context) -> Result<()> {
        ctx.register_proxy_func::<calls::echo>()?;
        ctx.register_proxy_func::<calls::add>()?;
        ctx.register_proxy_func::<calls::measure>()
    }
}
