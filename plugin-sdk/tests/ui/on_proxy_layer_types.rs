use framex_sdk::prelude::*;

#[on_proxy(layer = nowhere::to_be_found)]
pub async fn unknown_layer(id: u64) -> Result<u64> {
    Ok(id)
}

async fn takes_nothing() {}

#[on_proxy(layer = takes_nothing)]
pub async fn layer_without_parameters(id: u64) -> Result<u64> {
    Ok(id)
}

fn is_not_async<T, E>(_: LayerCall, next: Next<'_, T, E>) -> Next<'_, T, E> {
    next
}

#[on_proxy(layer = is_not_async)]
pub async fn plain_layer(id: u64) -> Result<u64> {
    Ok(id)
}

async fn answers_a_number(_: LayerCall, next: Next<'_, u64, Error>) -> u64 {
    next.run().await.as_ref().copied().unwrap_or_default()
}

#[on_proxy(layer = answers_a_number)]
pub async fn layer_that_answers_a_number(id: u64) -> Result<u64> {
    Ok(id)
}

fn main() {}
