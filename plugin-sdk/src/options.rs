//! Calls of a marked function with more to say than its arguments.

use std::time::Duration;

use crate::error::{CallError, Code, ProxyError};
use crate::function::{ProxyFunction, invoke_with};
use crate::instance;

/// Longest idempotency key in bytes.
const KEY_BYTES_MAX: usize = 64;

/// Options of one call: its timeout, and the key that makes its repeat safe.
///
/// ```
/// # use framex_sdk::prelude::*;
/// # use std::time::Duration;
/// # #[on_proxy] pub async fn book(seat: u32) -> Result<u32> { Ok(seat) }
/// # async fn example() -> Result<()> {
/// let options = CallOptions::new().timeout(Duration::from_secs(2)).idempotency_key("order-17");
/// let seat = match options.call::<book>((12,)).await {
///     // Whether or not the first one arrived: as long as its host remembers it, the seat is booked once.
///     Err(_) => options.call::<book>((12,)).await?,
///     Ok(seat) => seat,
/// };
/// # Ok(()) }
/// ```
///
/// Such a call goes through the host also where the body is in the same plugin. Outside of any host, in unit tests for
/// example, the body runs and the options have no effect.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    timeout: Option<Duration>,
    idempotency_key: Option<Vec<u8>>,
}

impl CallOptions {
    /// Creates options without a timeout or a key.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the timeout; a shorter one of the function, or of the call that makes this one, still holds.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Sets the idempotency key, 1 to 64 bytes: the host that runs the call keeps its outcome and returns it for a repeat
    /// with the same key and arguments. Keys of other plugins and callers are separate.
    ///
    /// The host keeps outcomes for `server.idempotency_keep_ms` (10 minutes by default), in bounded memory, and loses
    /// them at a restart.
    ///
    /// A call with a key continues when its caller is dropped, so that a repeat gets its outcome.
    #[must_use]
    pub fn idempotency_key(self, key: impl AsRef<[u8]>) -> Self {
        Self { idempotency_key: Some(key.as_ref().to_vec()), ..self }
    }

    /// Calls `F`, with its arguments as a tuple: `call::<greet>((7, user))`.
    ///
    /// # Errors
    /// As the call by its own name; [`Code::InvalidArgument`] for a key of a wrong length.
    pub async fn call<F: ProxyFunction>(&self, arguments: F::Arguments) -> Result<F::Output, F::Error> {
        if self.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            let text = format!("an idempotency key has 1 to {KEY_BYTES_MAX} bytes");
            return Err(F::Error::from_call_error(CallError::not_executed(Code::InvalidArgument, text)));
        }
        if instance::is_hosted() {
            return invoke_with::<F>(arguments, self).await;
        }
        let states = F::states().map_err(F::Error::from_call_error)?;
        F::body(arguments, states).await
    }

    /// Milliseconds, if there is a limit.
    pub(crate) fn timeout_ms(&self) -> Option<u64> {
        self.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX - 1))
    }

    /// Empty if there is none.
    pub(crate) fn key(&self) -> &[u8] {
        self.idempotency_key.as_deref().unwrap_or_default()
    }
}
