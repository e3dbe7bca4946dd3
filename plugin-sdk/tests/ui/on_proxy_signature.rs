use framex_sdk::prelude::*;

#[on_proxy]
pub fn not_async(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(blocking)]
pub async fn async_and_blocking(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy]
pub async fn generic<T>(id: T) -> Result<T> {
    Ok(id)
}

#[on_proxy]
pub async fn lifetime<'a>(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy]
pub async fn without_a_body(id: u64) -> Result<u64>;

#[on_proxy]
pub async fn no_result() {}

#[on_proxy]
pub async fn plain_result(id: u64) -> u64 {
    id
}

#[on_proxy]
pub async unsafe extern "C" fn variadic(id: u64, _: ...) -> Result<u64> {
    Ok(id)
}

#[on_proxy]
struct NotAFunction;

fn main() {}
