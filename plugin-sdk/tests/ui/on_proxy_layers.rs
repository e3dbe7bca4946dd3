use framex_sdk::prelude::*;

async fn passes<T, E>(_: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    Ok(next.run().await)
}

#[on_proxy(layer = "passes")]
pub async fn layer_of_a_text(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(layer = passes(8))]
pub async fn layer_with_arguments(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(name = "demo.f", layer = passes)]
pub async fn nothing_to_stand_around(id: u64) -> Result<u64>;

#[on_proxy(layer)]
pub async fn layer_without_a_name(id: u64) -> Result<u64> {
    Ok(id)
}

fn main() {}
