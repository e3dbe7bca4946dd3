//! Calls that are made within calls, and the stacks that they run on.
//!
//! A call that a plugin makes is begun and polled within the poll of the call that makes it, on the same stack: host,
//! plugin, host, plugin, and so on. So the chain must not become longer than the smallest stack allows. Every
//! [`CALLS_ON_ONE_STACK`] calls, the next one becomes a task, which runs on a stack that is empty; what waits for it polls
//! a handle.
//!
//! The host's threads have stacks of 2 MiB, so each call of a chain may take 1/8 of that, 256 KiB, including
//! everything its author has on the stack. Host and SDK take 13 KiB of it in a debug build, 24 KiB with two layers
//! (`tests/it/depth.rs` prints it). A thread of a plugin may have a smaller one, so what it calls never runs on it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::Router;
use super::dispatch::{LocalCall, stopping};
use crate::base::{ErrorCode, Failure, Invocation, Outcome};
use crate::functions::{Function, Started, run};

/// Number of nested calls that share a stack.
const CALLS_ON_ONE_STACK: u64 = 8;

/// Returns true if a call goes on with a stack of its own.
fn needs_its_own(invocation: &Invocation) -> bool {
    let is_deep = invocation.depth > 0 && invocation.depth.is_multiple_of(CALLS_ON_ONE_STACK);
    // The host runs calls in tasks; where there is none, the thread is a plugin's own.
    is_deep || tokio::task::try_id().is_none()
}

impl Router {
    /// Begins a call of a function of this host.
    pub(super) fn run_here(
        &self,
        function: &Function,
        mut call: LocalCall,
        context: &mut Context<'_>,
    ) -> Started {
        // The function's time limit begins here: waiting for a permit is a part of it.
        call.invocation = call.invocation.within(function.timeout);
        if needs_its_own(&call.invocation) {
            let Some(this) = self.this.upgrade() else { return stopping() };
            return this.run_on_own_stack(call, context);
        }
        self.run_on_this_stack(function, call, context)
    }

    /// Begins a call that runs here as a task.
    fn run_on_own_stack(self: Arc<Self>, call: LocalCall, context: &mut Context<'_>) -> Started {
        let LocalCall { invocation, arguments, .. } = call;
        let tasks = self.stack_tasks.clone();
        let call = async move {
            let function = self.find_here(&invocation)?;
            let call = LocalCall::new(invocation.within(function.timeout), arguments);
            run(move |context| self.run_on_this_stack(&function, call, context)).await
        };
        let task = tasks.spawn_on(&Handle::current(), call);
        Started::poll(Box::pin(OwnTask(AbortOnDropHandle::new(task))), context)
    }
}

/// A call that runs as a task; dropping it cancels the call.
struct OwnTask(AbortOnDropHandle<Outcome>);

impl Future for OwnTask {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0).poll(context).map(|ended| {
            ended.unwrap_or_else(|error| {
                let (code, text) = if error.is_panic() {
                    (ErrorCode::Internal, "the host failed to make the call")
                } else {
                    (ErrorCode::Cancelled, "the host is stopping")
                };
                Err(Box::new(Failure::new(code, text)))
            })
        })
    }
}
