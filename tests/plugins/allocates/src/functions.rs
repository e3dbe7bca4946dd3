//! Functions of the plugin.

use framex_sdk::prelude::*;

/// Returns `bytes` bytes of text, in this plugin's memory.
#[on_proxy]
pub async fn allocates(bytes: usize) -> Result<String> {
    Ok("x".repeat(bytes.min(1 << 20)))
}
