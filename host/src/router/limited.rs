//! Calls of functions that are limited, or whose plugin is: they take their permits first, and perhaps wait for them.

use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;

use super::Router;
use super::dispatch::{LocalCall, stopping};
use crate::base::{AcquireError, ErrorCode, Failure, Invocation, Outcome};
use crate::functions::{CallStats, Function, FunctionLimits, Rejected, Started, run};

/// A call that waits for its permits. It holds nothing of the plugin, which may be replaced meanwhile.
struct WaitingCall {
    limits: FunctionLimits,
    plugin: Arc<str>,
    stats: Arc<CallStats>,
    /// The permits that calls made within it inherit.
    invocation: Invocation,
    arguments: Bytes,
}

impl Router {
    pub(super) fn run_limited(
        &self,
        function: &Function,
        call: LocalCall,
        context: &mut Context<'_>,
    ) -> Started {
        let LocalCall { invocation, arguments, begun } = call;
        let limits = &function.limits;
        let inherited = invocation.inherited.clone();
        let mut invocation = Arc::unwrap_or_clone(invocation);
        invocation.inherited = limits.inherited_within(&inherited);
        if let Some(permits) = limits.try_acquire(&inherited) {
            invocation.guards = invocation.guards.with(permits);
            let call = LocalCall { invocation: Arc::new(invocation), arguments, begun };
            return self.run_body(function, call, context);
        }
        let Some(this) = self.this.upgrade() else { return stopping() };
        let waiting = WaitingCall {
            limits: limits.clone(),
            plugin: Arc::clone(&function.plugin),
            stats: Arc::clone(&function.stats),
            invocation,
            arguments,
        };
        let call = async move {
            match waiting.limits.acquire(&inherited, waiting.invocation.deadline).await {
                Ok(permits) => {
                    let WaitingCall { mut invocation, arguments, .. } = waiting;
                    invocation.guards = invocation.guards.with(permits);
                    let function = this.find_here(&invocation)?;
                    let call = LocalCall::new(Arc::new(invocation).within(function.timeout), arguments);
                    run(move |context| this.run_body(&function, call, context)).await
                }
                Err(rejected) => waiting.reject(rejected),
            }
        };
        Started::poll(Box::pin(call), context)
    }
}

impl WaitingCall {
    fn reject(&self, rejected: Rejected) -> Outcome {
        let (name, plugin) = (&self.invocation.function, &self.plugin);
        let (code, text) = match rejected {
            Rejected::Function(AcquireError::QueueFull) => (
                ErrorCode::Overloaded,
                format!("function `{name}` runs as many calls as it may, and its queue is full"),
            ),
            Rejected::Plugin(AcquireError::QueueFull) => (
                ErrorCode::Overloaded,
                format!("plugin `{plugin}` runs as many calls as it may, and its queue is full"),
            ),
            Rejected::Within => (
                ErrorCode::Overloaded,
                format!(
                    "function `{name}` runs as many calls as it may, and a call that is made within one of them does \
                     not wait for itself"
                ),
            ),
            Rejected::Function(AcquireError::TimeRanOut) => (
                ErrorCode::DeadlineExceeded,
                format!("the time ran out while the call waited for a permit of function `{name}`"),
            ),
            Rejected::Plugin(AcquireError::TimeRanOut) => (
                ErrorCode::DeadlineExceeded,
                format!("the time ran out while the call waited for a permit of plugin `{plugin}`"),
            ),
        };
        self.stats.refuse(code);
        Err(Box::new(Failure::not_executed(code, text)))
    }
}
