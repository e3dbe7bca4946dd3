//! Marked functions: their definition, and the two ways that a call of one takes.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use framex_abi::{ROUTE_HERE, ROUTE_UNKNOWN, RouteCell};
use schemars::SchemaGenerator;
use serde_json::Value;

use crate::error::{CallError, Code, ProxyError};
use crate::instance;
use crate::options::CallOptions;
use crate::outgoing;

/// A function marked `#[on_proxy]`; the attribute implements it for a type of the function's name.
pub trait ProxyFunction: Sized + 'static {
    /// The options of the attribute.
    const DEFINITION: Definition;
    /// The arguments that callers pass, in order.
    type Arguments: Send;
    /// The arguments that come from the plugin's context.
    type States: Send;
    /// The type of its results.
    type Output;
    /// The type of its errors.
    type Error: ProxyError;

    #[doc(hidden)]
    fn cell() -> &'static FunctionCell;
    #[doc(hidden)]
    fn states() -> Result<Self::States, CallError>;
    #[doc(hidden)]
    fn body(
        arguments: Self::Arguments,
        states: Self::States,
    ) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;
    #[doc(hidden)]
    fn encode_arguments(arguments: Self::Arguments) -> Result<Vec<u8>, CallError>;
    #[doc(hidden)]
    fn decode_arguments(bytes: &[u8]) -> Result<Self::Arguments, CallError>;
    #[doc(hidden)]
    fn encode_result(result: Self::Output) -> Result<Vec<u8>, CallError>;
    #[doc(hidden)]
    fn decode_result(bytes: &[u8]) -> Result<Self::Output, CallError>;
    #[doc(hidden)]
    fn arguments_schema(generator: &mut SchemaGenerator) -> Value;
    #[doc(hidden)]
    fn result_schema(generator: &mut SchemaGenerator) -> Value;
}

/// The two types of a `Result`, also of one behind an alias.
#[doc(hidden)]
pub trait ResultParts {
    type Value;
    type Error;
}

impl<T, E> ResultParts for Result<T, E> {
    type Value = T;
    type Error = E;
}

/// The definition of a marked function.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Its name in the host's table, `crate.module.function`.
    pub name: &'static str,
    /// Its doc comment.
    pub description: &'static str,
    /// Running it twice does no harm.
    pub idempotent: bool,
    /// Milliseconds that one call may take; `None`: the host's default.
    pub timeout_ms: Option<u64>,
    /// Calls at one time through the host; 0: no limit of its own.
    pub max_concurrency: u32,
    /// Calls that wait while `max_concurrency` calls run.
    pub max_queue: u32,
}

impl Definition {
    /// Stands for the definition of a function that its attribute refused.
    #[doc(hidden)]
    pub const REFUSED: Self = Self {
        name: "",
        description: "",
        idempotent: false,
        timeout_ms: None,
        max_concurrency: 0,
        max_queue: 0,
    };
}

/// The route of calls of one function, which the host writes, and its number at the host.
#[doc(hidden)]
#[derive(Debug)]
pub struct FunctionCell {
    pub(crate) route: RouteCell,
    pub(crate) number: AtomicU32,
}

impl FunctionCell {
    #[doc(hidden)]
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a const constructor for statics")]
    pub const fn new() -> Self {
        Self {
            route: RouteCell {
                route: AtomicU32::new(ROUTE_UNKNOWN),
                layer_failures: AtomicU32::new(0),
                calls: AtomicU64::new(0),
            },
            number: AtomicU32::new(framex_abi::NO_FUNCTION),
        }
    }

    /// Returns true if a call from inside the owning plugin is a plain call; costs one load.
    #[inline]
    fn runs_here(&self) -> bool {
        match self.route.route.load(Ordering::Relaxed) {
            ROUTE_HERE => {
                self.route.calls.fetch_add(1, Ordering::Relaxed);
                true
            }
            ROUTE_UNKNOWN => !instance::is_hosted(),
            _ => false,
        }
    }
}

/// Calls a marked function as by its own name.
#[doc(hidden)]
#[inline]
pub async fn invoke<F: ProxyFunction>(arguments: F::Arguments) -> Result<F::Output, F::Error> {
    if F::cell().runs_here() {
        let states = F::states().map_err(F::Error::from_call_error)?;
        return F::body(arguments, states).await;
    }
    invoke_remote::<F>(arguments).await
}

/// Calls through the host, even if the body is in this plugin.
#[doc(hidden)]
pub async fn invoke_remote<F: ProxyFunction>(arguments: F::Arguments) -> Result<F::Output, F::Error> {
    invoke_with::<F>(arguments, &CallOptions::default()).await
}

/// Calls through the host with options.
pub(crate) async fn invoke_with<F: ProxyFunction>(
    arguments: F::Arguments,
    options: &CallOptions,
) -> Result<F::Output, F::Error> {
    let bytes = F::encode_arguments(arguments).map_err(F::Error::from_call_error)?;
    let reply = outgoing::call(F::DEFINITION.name, &F::cell().number, bytes, options).await;
    let reply = reply.map_err(F::Error::from_call_error)?;
    F::decode_result(reply.as_ref()).map_err(F::Error::from_call_error)
}

/// Finds a `#[state]` argument in what `on_start` put into the context.
#[doc(hidden)]
pub fn state<T: Send + Sync + 'static>() -> Result<Arc<T>, CallError> {
    instance::state::<T>().ok_or_else(|| {
        let state = short_type_name(std::any::type_name::<T>());
        let text = format!(
            "this host's plugin was started without a `{state}`: give it one in its config, or have the function run on \
             a host that has one (plugins.proxy.proxy_functions)"
        );
        CallError::not_executed(Code::Unavailable, text)
    })
}

/// `sqlx_core::pool::Pool<sqlx_sqlite::Sqlite>` as `Pool<Sqlite>`.
fn short_type_name(name: &str) -> String {
    let mut short = String::new();
    let mut word = String::new();
    for c in name.chars() {
        match c {
            ':' => word.clear(),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            c => {
                short.push_str(&word);
                word.clear();
                short.push(c);
            }
        }
    }
    short + &word
}

/// Length of [`dotted`]'s answer.
#[doc(hidden)]
#[must_use]
pub const fn dotted_len(path: &str, function: &str) -> usize {
    let bytes = path.as_bytes();
    let mut len = function.len() + 1;
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b':' {
            i += 1;
        }
        len += 1;
        i += 1;
    }
    len
}

/// `a::b` and `f` as `a.b.f`.
///
/// # Panics
/// At compile time, if `N` is not the result of [`dotted_len`].
#[doc(hidden)]
#[must_use]
pub const fn dotted<const N: usize>(path: &str, function: &str) -> [u8; N] {
    let (bytes, function) = (path.as_bytes(), function.as_bytes());
    let mut out = [0; N];
    let (mut i, mut o) = (0, 0);
    while i < bytes.len() {
        if bytes[i] == b':' {
            out[o] = b'.';
            i += 2;
        } else {
            out[o] = bytes[i];
            i += 1;
        }
        o += 1;
    }
    out[o] = b'.';
    let mut f = 0;
    while f < function.len() {
        out[o + 1 + f] = function[f];
        f += 1;
    }
    assert!(o + 1 + f == N, "the length must come from `dotted_len`");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dotted() {
        const LEN: usize = dotted_len("demo::some", "example_func");
        assert_eq!(&dotted::<LEN>("demo::some", "example_func"), b"demo.some.example_func");
    }

    #[test]
    fn type_names_are_short() {
        assert_eq!(short_type_name("a::b::Pool<c::d::Sqlite>"), "Pool<Sqlite>");
        assert_eq!(short_type_name("u64"), "u64");
    }
}
