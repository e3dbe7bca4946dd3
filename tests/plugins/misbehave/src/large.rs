//! Functions whose results are as long as the caller likes.

use framex_sdk::prelude::*;

/// An error that says a lot.
#[proxy_error]
#[derive(PartialEq, thiserror::Error)]
pub enum Long {
    /// With details.
    #[error("it failed at length")]
    AtLength {
        /// The text.
        text: String,
    },
    /// A call that failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Returns this number of bytes.
#[on_proxy]
pub async fn gives_bytes(count: usize) -> Result<Vec<u8>> {
    Ok(vec![7; count])
}

/// Returns this number of bytes, a moment later.
#[on_proxy]
pub async fn gives_bytes_later(count: usize) -> Result<Vec<u8>> {
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    Ok(vec![7; count])
}

/// Returns a list of this number of nulls: a byte each, and five in JSON.
#[on_proxy]
pub async fn gives_nulls(count: usize) -> Result<Vec<Option<u8>>> {
    Ok(vec![None; count])
}

/// Calls for this number of bytes through the host, and returns their number.
#[on_proxy]
pub async fn asks_for_bytes(count: usize) -> Result<usize> {
    Ok(gives_bytes(count).await?.len())
}

/// Fails with details of this number of bytes.
#[on_proxy]
pub async fn fails_at_length(count: usize) -> Result<(), Long> {
    Err(Long::AtLength { text: "x".repeat(count) })
}

/// Registers all of them.
///
/// # Errors
/// As [`Context::register_proxy_func`].
pub fn register(ctx: &Context) -> Result<()> {
    ctx.register_proxy_func::<gives_bytes>()?;
    ctx.register_proxy_func::<gives_bytes_later>()?;
    ctx.register_proxy_func::<gives_nulls>()?;
    ctx.register_proxy_func::<asks_for_bytes>()?;
    ctx.register_proxy_func::<fails_at_length>()
}
