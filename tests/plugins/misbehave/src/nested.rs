//! Functions that call themselves and others through the host, in all ways that there are.

use framex_sdk::prelude::*;

pub(crate) fn register(ctx: &Context) -> Result<()> {
    ctx.register_proxy_func::<again>()?;
    ctx.register_proxy_func::<again_layered>()?;
    ctx.register_proxy_func::<again_spawned>()?;
    ctx.register_proxy_func::<again_on_threads>()?;
    ctx.register_proxy_func::<again_blocking>()?;
    ctx.register_proxy_func::<ping>()?;
    ctx.register_proxy_func::<sleeps_below>()?;
    ctx.register_proxy_func::<asks_count>()?;
    ctx.register_proxy_func::<asks_count_spawned>()
}

#[expect(clippy::disallowed_methods, reason = "the test needs a task of the plugin's own")]
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(task)
}

/// Returns an address on this thread's stack.
#[inline(never)]
fn stack_address() -> u64 {
    let local = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&local)) as u64
}

/// `again` by another name: a call of it always goes through the host.
#[on_proxy(name = "misbehave.nested.again")]
pub async fn again_by_the_host(depth: u64) -> Result<Vec<u64>>;

/// Calls itself to a depth; returns the address of each call on its stack, the innermost first.
#[on_proxy]
pub async fn again(depth: u64) -> Result<Vec<u64>> {
    let mut addresses = if depth == 0 { Vec::new() } else { again_by_the_host(depth - 1).await? };
    addresses.push(stack_address());
    Ok(addresses)
}

async fn passes<T, E>(_: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    Ok(next.run().await)
}

/// `again_layered` by another name.
#[on_proxy(name = "misbehave.nested.again_layered")]
pub async fn again_layered_by_the_host(depth: u64) -> Result<Vec<u64>>;

/// The same with layers around it.
#[on_proxy(layer = passes, layer = passes)]
pub async fn again_layered(depth: u64) -> Result<Vec<u64>> {
    let mut addresses = if depth == 0 { Vec::new() } else { again_layered_by_the_host(depth - 1).await? };
    addresses.push(stack_address());
    Ok(addresses)
}

/// `again_spawned` by another name.
#[on_proxy(name = "misbehave.nested.again_spawned")]
pub async fn again_spawned_by_the_host(depth: u64) -> Result<u64>;

/// Calls itself to a depth, each time from a task that it spawns.
#[on_proxy]
pub async fn again_spawned(depth: u64) -> Result<u64> {
    if depth == 0 {
        return Ok(0);
    }
    let spawned = spawn(async move { again_spawned_by_the_host(depth - 1).await });
    Ok(spawned.await.map_err(|error| Error::new("spawned", error.to_string()))?? + 1)
}

/// `again_on_threads` by another name.
#[on_proxy(name = "misbehave.nested.again_on_threads")]
pub async fn again_on_threads_by_the_host(depth: u64) -> Result<u64>;

/// Calls itself to a depth, each time from a thread of its own that has little stack.
#[on_proxy]
pub async fn again_on_threads(depth: u64) -> Result<u64> {
    if depth == 0 {
        return Ok(0);
    }
    let runtime = tokio::runtime::Handle::current();
    let (tell, told) = tokio::sync::oneshot::channel();
    let failed = |error: &dyn std::fmt::Display| Error::new("thread", error.to_string());
    std::thread::Builder::new()
        .stack_size(128 * 1024)
        .spawn(move || drop(tell.send(runtime.block_on(again_on_threads_by_the_host(depth - 1)))))
        .map_err(|error| failed(&error))?;
    Ok(told.await.map_err(|error| failed(&error))?? + 1)
}

/// `again_blocking` by another name.
#[on_proxy(name = "misbehave.nested.again_blocking")]
pub async fn again_blocking_by_the_host(depth: u64) -> Result<u64>;

/// Calls itself to a depth, each time from the blocking pool.
#[on_proxy(blocking)]
pub fn again_blocking(depth: u64) -> Result<u64> {
    if depth == 0 {
        return Ok(0);
    }
    let called = tokio::runtime::Handle::current().block_on(again_blocking_by_the_host(depth - 1));
    Ok(called? + 1)
}

/// Of the plugin `changing`.
#[on_proxy(name = "changing.functions.pong")]
pub async fn pong(depth: u64) -> Result<u64>;

/// Calls `pong` of another plugin, which calls this one, `left` times.
#[on_proxy]
pub async fn ping(depth: u64) -> Result<u64> {
    if depth == 0 { Ok(0) } else { Ok(pong(depth - 1).await? + 1) }
}

/// `sleeps_below` by another name.
#[on_proxy(name = "misbehave.nested.sleeps_below")]
pub async fn sleeps_below_by_the_host(depth: u64, ms: u64) -> Result<u64>;

/// Calls itself to a depth, and waits there.
#[on_proxy]
pub async fn sleeps_below(depth: u64, ms: u64) -> Result<u64> {
    if depth > 0 {
        return Ok(sleeps_below_by_the_host(depth - 1, ms).await? + 1);
    }
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
    Ok(0)
}

/// `misbehave.functions.counts`, here or on a peer.
#[on_proxy(name = "misbehave.functions.counts")]
pub async fn count_by_the_host() -> Result<u64>;

/// Runs here and calls `counts`, here or on a peer.
#[on_proxy]
pub async fn asks_count() -> Result<u64> {
    count_by_the_host().await
}

/// The same from a task that it spawns.
#[on_proxy]
pub async fn asks_count_spawned() -> Result<u64> {
    let spawned = spawn(count_by_the_host());
    spawned.await.map_err(|error| Error::new("spawned", error.to_string()))?
}
