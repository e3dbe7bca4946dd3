use framex_sdk::prelude::*;

struct Pool;

struct Service;

impl Service {
    #[on_proxy]
    pub async fn method(&self, id: u64) -> Result<u64> {
        Ok(id)
    }
}

#[on_proxy]
pub async fn pattern((a, b): (u64, u64)) -> Result<u64> {
    Ok(a + b)
}

#[on_proxy]
pub async fn borrowed(name: &str) -> Result<u64> {
    Ok(name.len() as u64)
}

#[on_proxy]
pub async fn any_type(name: impl Into<String>) -> Result<String> {
    Ok(name.into())
}

#[on_proxy]
pub async fn unknown_attribute(#[serde(default)] id: u64) -> Result<u64> {
    Ok(id)
}

#[on_proxy]
pub async fn mutable_state(#[state] pool: &mut Pool) -> Result<()> {
    Ok(())
}

fn main() {}
