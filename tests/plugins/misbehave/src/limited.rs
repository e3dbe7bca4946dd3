//! Functions with limits on the calls that run and wait.

use std::sync::Mutex;
use std::time::Duration;

use framex_sdk::prelude::*;

/// The ids of calls in the order in which they began.
static BEGUN: Mutex<Vec<u64>> = Mutex::new(Vec::new());

pub(crate) fn register(ctx: &Context) -> Result<()> {
    ctx.register_proxy_func::<queued>()?;
    ctx.register_proxy_func::<queued_briefly>()?;
    ctx.register_proxy_func::<begun>()?;
    ctx.register_proxy_func::<repeats>()
}

fn begin(id: u64) {
    BEGUN.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(id);
    tracing::info!(id, "begins its turn");
}

/// Two at once, three wait.
#[on_proxy(max_concurrency = 2, max_queue = 3)]
pub async fn queued(id: u64, #[default] ms: u64) -> Result<u64> {
    begin(id);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(id)
}

/// One at once, three wait; waiting is a part of the time that it has.
#[on_proxy(max_concurrency = 1, max_queue = 3, timeout_ms = 300)]
pub async fn queued_briefly(id: u64, #[default] ms: u64) -> Result<u64> {
    begin(id);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(id)
}

/// The ids of calls of the others, in the order in which they began.
#[on_proxy]
pub async fn begun() -> Result<Vec<u64>> {
    Ok(BEGUN.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
}

/// The functions below by other names: calls of them always go through the host.
#[on_proxy(name = "misbehave.limited.repeats")]
pub async fn repeats_by_the_host(depth: u64) -> Result<u64>;

/// Calls itself through the host, to a depth.
#[on_proxy(name = "misbehave.limited.repeats")]
pub async fn repeats(depth: u64) -> Result<u64> {
    if depth == 0 { Ok(0) } else { Ok(repeats_by_the_host(depth - 1).await? + 1) }
}
