//! What it does in calls.

use framex_sdk::prelude::*;

/// Answers so many bytes of text, of this plugin's memory.
#[on_proxy]
pub async fn allocates(bytes: usize) -> Result<String> {
    Ok("x".repeat(bytes.min(1 << 20)))
}
