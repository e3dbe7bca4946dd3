//! A function as the table has it, and how a call of it begins.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::{CallStats, DeclaredLimit, FunctionLimits};
use crate::base::{FunctionName, Invocation, Outcome};

/// The rest of a call that did not end at once. Dropping it cancels the call.
pub type CallFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The state of a call after its first poll.
pub enum Started {
    /// The call has ended, as most calls that wait for nothing do.
    Ready(Outcome),
    /// The call waits; it wakes the task of the context.
    Pending(CallFuture),
}

impl Started {
    /// Polls the rest of a call once.
    pub fn poll(mut rest: CallFuture, context: &mut Context<'_>) -> Self {
        match rest.as_mut().poll(context) {
            Poll::Ready(outcome) => Self::Ready(outcome),
            Poll::Pending => Self::Pending(rest),
        }
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(outcome) => f.debug_tuple("Ready").field(outcome).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}

/// Runs calls: the code behind one function, or the router, which runs those of all functions.
pub trait Handler: Send + Sync {
    /// Begins a call of `invocation.function`, on the thread that asks, and polls it once.
    ///
    /// `arguments` are the bytes of one MessagePack map with string keys, already checked for their form.
    fn start(&self, invocation: Arc<Invocation>, arguments: Bytes, context: &mut Context<'_>) -> Started;
}

/// Runs a call that `start` begins to its end.
///
/// # Errors
/// The failure of the call.
///
/// # Cancel safety
/// Dropping it cancels the call.
pub async fn run(start: impl FnOnce(&mut Context<'_>) -> Started) -> Outcome {
    let mut start = Some(start);
    let mut pending: Option<CallFuture> = None;
    poll_fn(|context| {
        if let Some(start) = start.take() {
            match start(context) {
                Started::Ready(outcome) => return Poll::Ready(outcome),
                Started::Pending(future) => {
                    pending = Some(future);
                    return Poll::Pending;
                }
            }
        }
        match &mut pending {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Pending,
        }
    })
    .await
}

/// One function of the table.
pub struct Function {
    /// Its name.
    pub name: FunctionName,
    /// The plugin that registered it.
    pub plugin: Arc<str>,
    /// That plugin's generation.
    pub generation: u64,
    /// For people.
    pub description: String,
    /// JSON Schema of the named arguments; `true` where it is unknown.
    pub arguments_schema: serde_json::Value,
    /// JSON Schema of the result; `true` where it is unknown.
    pub result_schema: serde_json::Value,
    /// Running it twice does no harm.
    pub idempotent: bool,
    /// The most that one call may take, if the function says so.
    pub timeout: Option<Duration>,
    /// The limit that the function itself declares.
    pub declared: DeclaredLimit,
    /// The limits of its calls, shared by all generations of its name; the table sets them.
    pub limits: FunctionLimits,
    /// Counts of its calls; the table hands them on by name from generation to generation.
    pub stats: Arc<CallStats>,
    /// The code.
    pub handler: Box<dyn Handler>,
}

#[cfg(test)]
impl Function {
    /// A function that answers its arguments.
    pub(crate) fn for_tests(plugin: &str, name: &str, arguments_schema: serde_json::Value) -> Self {
        struct Echo;
        impl Handler for Echo {
            fn start(&self, _: Arc<Invocation>, arguments: Bytes, _: &mut Context<'_>) -> Started {
                Started::Ready(Ok(arguments))
            }
        }
        Self {
            name: FunctionName::new(name).expect("tests write names that are some"),
            plugin: plugin.into(),
            generation: 1,
            description: String::new(),
            arguments_schema,
            result_schema: true.into(),
            idempotent: false,
            timeout: None,
            declared: DeclaredLimit::default(),
            limits: FunctionLimits::default(),
            stats: Arc::default(),
            handler: Box::new(Echo),
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("name", &self.name)
            .field("plugin", &self.plugin)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
