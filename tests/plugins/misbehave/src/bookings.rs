//! Functions that must not run twice, and count how often they did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use framex_sdk::prelude::*;

static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Returns how many bookings had begun in this process when this one did, itself included; then `bytes` more.
#[on_proxy]
pub async fn books(
    order: String,
    #[default] ms: u64,
    #[default] fails: bool,
    #[default] bytes: u64,
) -> Result<String> {
    let nth = BEGUN.fetch_add(1, Ordering::Relaxed) + 1;
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    ENDED.fetch_add(1, Ordering::Relaxed);
    if fails {
        return Err(Error::new("sold_out", format!("{order} is sold out, says booking {nth}")));
    }
    Ok(format!("{order} {nth}{}", "x".repeat(usize::try_from(bytes).unwrap_or_default())))
}

/// Returns the numbers of bookings that began and that ended in this process.
#[on_proxy]
pub async fn booked() -> Result<(u64, u64)> {
    Ok((BEGUN.load(Ordering::Relaxed), ENDED.load(Ordering::Relaxed)))
}

/// Books with a key and a timeout, several times in a row, and returns the outcome of each.
#[on_proxy]
pub async fn books_again(
    order: String,
    ms: u64,
    key: String,
    timeout_ms: u64,
    times: u64,
) -> Result<Vec<String>> {
    let options = CallOptions::new().idempotency_key(key).timeout(Duration::from_millis(timeout_ms));
    let mut answers = Vec::new();
    for _ in 0..times {
        answers.push(match options.call::<books>((order.clone(), ms, false, 0)).await {
            Ok(answer) => answer,
            Err(error) => error.code().to_string(),
        });
    }
    Ok(answers)
}
