//! Calls of functions that are limited, or whose plugin is: they take their places first, and perhaps wait for them.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::Router;
use super::dispatch::stopping;
use crate::base::{Deadline, ErrorCode, Failure, Invocation, NoPlace, Outcome};
use crate::functions::{CallFuture, CallStats, Function, FunctionPlaces, Limited, Started, run};

/// A call that waits for its places. It holds nothing of the plugin, which may be replaced meanwhile.
struct Waiting {
    places: FunctionPlaces,
    plugin: Arc<str>,
    stats: Arc<CallStats>,
    /// As calls made within it are to see it.
    invocation: Invocation,
    arguments: Bytes,
}

impl Router {
    pub(super) fn start_limited(
        &self,
        function: &Function,
        invocation: Arc<Invocation>,
        arguments: Bytes,
        context: &mut Context<'_>,
        begun: Instant,
    ) -> Started {
        let places = &function.places;
        let within = invocation.within.clone();
        // The time that a function gives its calls begins here: waiting is a part of it.
        let own = function.timeout.map(Deadline::after);
        let mut invocation = Invocation {
            deadline: own.map_or(invocation.deadline, |own| own.min(invocation.deadline)),
            within: places.held_within(&within),
            ..Invocation::clone(&invocation)
        };
        if let Some(entered) = places.try_enter(&within) {
            invocation.held = invocation.held.with(entered);
            return self.start_body(function, Arc::new(invocation), arguments, context, begun);
        }
        let Some(this) = self.this.upgrade() else { return stopping() };
        let waiting = Waiting {
            places: places.clone(),
            plugin: Arc::clone(&function.plugin),
            stats: Arc::clone(&function.stats),
            invocation,
            arguments,
        };
        let mut future: CallFuture = Box::pin(async move {
            match waiting.places.enter(&within, waiting.invocation.deadline).await {
                Ok(entered) => {
                    let Waiting { mut invocation, arguments, .. } = waiting;
                    invocation.held = invocation.held.with(entered);
                    // Looked up anew: the plugin may have been replaced while the call waited.
                    let function = this.table().snapshot().find(invocation.function.as_str()).cloned();
                    let Some(function) = function else { return Err(this.not_found(&invocation)) };
                    let begun = Instant::now();
                    let start = move |context: &mut Context<'_>| {
                        this.start_body(&function, Arc::new(invocation), arguments, context, begun)
                    };
                    run(start).await
                }
                Err(limited) => waiting.refuse(limited),
            }
        });
        match future.as_mut().poll(context) {
            Poll::Ready(outcome) => Started::Ready(outcome),
            Poll::Pending => Started::Pending(future),
        }
    }
}

impl Waiting {
    fn refuse(&self, limited: Limited) -> Outcome {
        let (name, plugin) = (&self.invocation.function, &self.plugin);
        let (code, text) = match limited {
            Limited::Function(NoPlace::Full) => (
                ErrorCode::Overloaded,
                format!("function `{name}` runs as often as it may, and nobody more may wait for it"),
            ),
            Limited::Plugin(NoPlace::Full) => (
                ErrorCode::Overloaded,
                format!("plugin `{plugin}` runs as many calls as it may, and nobody more may wait for it"),
            ),
            Limited::Within => (
                ErrorCode::Overloaded,
                format!(
                    "function `{name}` runs as often as it may, and a call that is made within one of those does not \
                     wait for itself"
                ),
            ),
            Limited::Function(NoPlace::TimeRanOut) => (
                ErrorCode::DeadlineExceeded,
                format!("the time ran out while the call waited for a place of function `{name}`"),
            ),
            Limited::Plugin(NoPlace::TimeRanOut) => (
                ErrorCode::DeadlineExceeded,
                format!("the time ran out while the call waited for a place of plugin `{plugin}`"),
            ),
        };
        self.stats.refuse(code);
        Err(Box::new(Failure::not_executed(code, text)))
    }
}
