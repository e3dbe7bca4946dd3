//! The layer of the functions that ask the database: logs the calls that take long.

use std::time::{Duration, Instant};

use framex_sdk::prelude::*;

/// The duration from which a call counts as slow.
#[derive(Debug)]
pub(crate) struct SlowQuery(pub(crate) Duration);

/// Logs a call that takes long, with the request id that its caller knows.
pub(crate) async fn log_slow<T, E>(call: LayerCall, next: Next<'_, T, E>) -> Layered<'_, T, E> {
    let Some(slow) = call.state::<SlowQuery>() else { return Ok(next.run().await) };
    let begun = Instant::now();
    let answer = next.run().await;
    let took = begun.elapsed();
    if took >= slow.0 {
        tracing::warn!(
            function = call.function(),
            ms = took.as_millis(),
            ok = answer.is_ok(),
            "a slow query"
        );
    }
    Ok(answer)
}
