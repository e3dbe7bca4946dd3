use framex_sdk::prelude::*;

pub struct Pool;

async fn passes<T, E>(_: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    Ok(next.run().await)
}

#[on_proxy(timeout_ms = 0, idempotant, blocking = true, max_queue = 5)]
pub fn options(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(name = "demo function", layer)]
pub fn signature<T>(#[state] pool: &mut Pool, text: &str, (a, b): (u64, u64)) -> u64 {
    a + b + text.len() as u64
}

#[on_proxy(max_concurrency = 0, max_queue = 5, layer = passes)]
pub async fn without_a_body(id: u64) -> Result<u64>;

#[model(name = "user")]
#[derive(PartialEq)]
pub struct Skips {
    #[serde(skip)]
    first: u64,
    #[serde(default, skip_serializing)]
    second: u64,
}

#[proxy_error(code = "x")]
#[derive(PartialEq)]
pub enum Failure {
    NotFound,
}

#[derive(Default)]
struct Example;

#[plugin(name = "Upper Case", version = "1")]
impl Plugin for Example {
    async fn on_start(&mut self, ctx: &Context) -> Result<()> {
        ctx.register_proxy_func::<options>()?;
        ctx.register_proxy_func::<signature>()?;
        ctx.register_proxy_func::<without_a_body>()?;
        ctx.register_proxy_func::<fails>()
    }
}

// Uses of the items above are not errors.
#[on_proxy]
pub async fn fails(given: Skips) -> Result<Skips, Failure> {
    if options(7).await.is_ok() && without_a_body(7).await.is_ok() {
        signature::<u64>("text", (1, 2)).await;
    }
    if given == (Skips { first: 1, second: 2 }) {
        return Err(Failure::NotFound);
    }
    Ok(given)
}

fn main() {}
