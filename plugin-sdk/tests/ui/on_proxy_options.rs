use framex_sdk::prelude::*;

#[on_proxy(idempotant)]
pub async fn unknown_option(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(name = "demo..function")]
pub async fn empty_part(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(name = "demo function")]
pub async fn space(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(name = 7)]
pub async fn name_of_a_number(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(timeout_ms = 0)]
pub async fn no_time(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(max_concurrency = 0)]
pub async fn no_calls(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(max_concurrency = 4294967296)]
pub async fn too_many_calls(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(max_queue = 5)]
pub async fn queue_of_nothing(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(max_concurrency = 5, max_queue = 4294967296)]
pub async fn too_long_a_queue(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(timeout_ms = "500")]
pub async fn time_of_a_text(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(idempotent, blocking = true)]
pub fn flag_with_a_value(id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy(timeout_ms)]
pub async fn time_without_a_number(id: u64) -> Result<u64> {
    Ok(id)
}

fn main() {}
