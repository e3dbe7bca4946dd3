//! Carrying the decision out.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::budget::RetryBudget;
use super::decision::{self, Decision, Target, decide};
use crate::base::{
    Deadline, ErrorCode, Failure, FunctionName, HOPS_MAX, HostId, Invocation, Outcome, nearest,
};
use crate::config::Fallback;
use crate::functions::{CallFuture, CallStats, Dispatch, Function, Started, Table, Withdrawn};
use crate::peers::Peer;

/// Routes calls.
pub struct Router {
    host_id: HostId,
    /// 16 random bytes of this process, by which it recognises itself.
    instance: [u8; 16],
    table: Arc<Table>,
    routes: ArcSwap<Routes>,
    /// What is left of calls that may be made again.
    pub(super) budget: RetryBudget,
    /// Told when a peer turns out to be this very host: functions then run here that did not before.
    on_itself: OnceLock<Box<dyn Fn() + Send + Sync>>,
    this: Weak<Self>,
}

/// What the config says of where calls go; replaced in one swap. A call keeps those that it began under.
#[derive(Debug)]
pub struct Routes {
    /// The peers of each function that is configured to run on some, in the order of the config.
    pub configured: HashMap<FunctionName, Vec<Arc<Peer>>>,
    /// What becomes of a call that provably did not run on its peers.
    pub fallback: Fallback,
}

impl Routes {
    fn of(&self, name: &FunctionName) -> &[Arc<Peer>] {
        self.configured.get(name).map_or(&[], Vec::as_slice)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("host_id", &self.host_id).finish_non_exhaustive()
    }
}

impl Router {
    /// A router over the functions of `table` and the peers of `routes`.
    #[must_use]
    pub fn new(host_id: HostId, table: Arc<Table>, routes: Routes) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            host_id,
            instance: rand::random(),
            table,
            routes: ArcSwap::from_pointee(routes),
            budget: RetryBudget::new(Instant::now()),
            on_itself: OnceLock::new(),
            this: this.clone(),
        })
    }

    /// Sets who is told when a peer turns out to be this very host; the first one stays.
    pub fn on_itself(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.on_itself.get_or_init(|| Box::new(tell));
    }

    pub(super) fn tell_itself(&self) {
        self.on_itself.get().into_iter().for_each(|tell| tell());
    }

    /// Id of this host.
    #[must_use]
    pub fn host_id(&self) -> &HostId {
        &self.host_id
    }

    /// By what this process recognises itself.
    #[must_use]
    pub fn instance(&self) -> &[u8; 16] {
        &self.instance
    }

    /// The function table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What the config says of where calls go.
    #[must_use]
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// Replaces it; calls that have begun go on under the old ones.
    pub fn set_routes(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// The peers that functions are configured to run on, by URL.
    #[must_use]
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        let routes = self.routes.load();
        let mut peers: Vec<&Arc<Peer>> = routes.configured.values().flatten().collect();
        peers.sort_by_key(|peer| peer.url());
        peers.dedup_by_key(|peer| peer.url());
        peers.into_iter().cloned().collect()
    }

    /// Where a function runs at present.
    #[must_use]
    pub fn target(&self, name: &FunctionName) -> Target {
        decide(name, &self.table.snapshot(), self.routes.load().of(name))
    }

    /// Where a function runs at present, and why.
    #[must_use]
    pub fn explain(&self, name: &FunctionName) -> Decision {
        decision::explain(name, &self.table.snapshot(), self.routes.load().of(name))
    }

    fn start_local(
        function: &Function,
        mut invocation: Arc<Invocation>,
        arguments: Bytes,
        context: &mut Context<'_>,
        begun: Instant,
    ) -> Started {
        let permit = match function.permits.as_ref().map(|permits| Arc::clone(permits).try_acquire_owned()) {
            None => None,
            Some(Ok(permit)) => Some(permit),
            Some(Err(_)) => {
                let text =
                    format!("function `{}` runs as often as its max_concurrency allows", function.name);
                function.stats.refuse(ErrorCode::Overloaded);
                return refuse(ErrorCode::Overloaded, text);
            }
        };
        if let Some(own) = function.timeout.map(Deadline::after).filter(|own| *own < invocation.deadline) {
            invocation = Arc::new(Invocation { deadline: own, ..Invocation::clone(&invocation) });
        }
        let deadline = invocation.deadline;
        function.stats.begin();
        match function.handler.start(invocation, arguments, context) {
            Started::Ready(outcome) => {
                function.stats.end(&outcome, begun.elapsed());
                Started::Ready(outcome)
            }
            Started::Pending(future) => {
                let running = Running { stats: Arc::clone(&function.stats), begun, ended: false };
                UntilDeadline::start(future, deadline, permit, running, context)
            }
        }
    }

    pub(super) fn has(&self, name: &FunctionName) -> bool {
        self.table.snapshot().find(name.as_str()).is_some()
    }

    pub(super) async fn call_here(&self, invocation: Arc<Invocation>, arguments: Bytes) -> Outcome {
        let function = self.table.snapshot().find(invocation.function.as_str()).cloned();
        let Some(function) = function else { return Err(self.not_found(&invocation)) };
        let begun = Instant::now();
        crate::functions::run(|context| Self::start_local(&function, invocation, arguments, context, begun))
            .await
    }

    /// Offers what is near, out of what the caller may see.
    pub(super) fn not_found(&self, invocation: &Invocation) -> Box<Failure> {
        let name = &invocation.function;
        let table = self.table.snapshot();
        if let Some(Withdrawn { plugin, generation }) = table.withdrawn(name.as_str()) {
            let now = match table.generation_of(plugin) {
                Some(now) => format!("its generation {now} serves now"),
                None => "it has no function here now".to_owned(),
            };
            let text = format!(
                "there is no function `{name}` any more: plugin `{plugin}` had it last in its generation {generation}; {now}"
            );
            return Box::new(Failure::not_executed(ErrorCode::NotFound, text));
        }
        let routes = self.routes.load();
        let local = table.sorted().into_values().map(|function| &function.name);
        // One that is configured to run here, and does not, is no help.
        let known = local.chain(routes.configured.keys()).filter(|known| *known != name);
        let known = known.filter(|known| invocation.caller.may_see(known)).map(FunctionName::as_str);
        let known: std::collections::BTreeSet<&str> = known.collect();
        let near = nearest(name.as_str(), known, 3);
        let text = match near.as_slice() {
            [] => format!("there is no function `{name}`; GET /api/v1/functions lists what there is"),
            near => format!("there is no function `{name}`; the nearest are `{}`", near.join("`, `")),
        };
        Box::new(Failure::not_executed(ErrorCode::NotFound, text))
    }
}

impl Dispatch for Router {
    fn start(&self, invocation: Arc<Invocation>, arguments: Bytes, context: &mut Context<'_>) -> Started {
        let now = Instant::now();
        if invocation.deadline.0 <= now {
            return refuse(ErrorCode::DeadlineExceeded, "the time ran out before the call began".to_owned());
        }
        match self.target(&invocation.function) {
            Target::Local(function) => Self::start_local(&function, invocation, arguments, context, now),
            Target::Nowhere => Started::Ready(Err(self.not_found(&invocation))),
            Target::Peers(_) if invocation.hops.len() >= HOPS_MAX => {
                let path = invocation.hops.iter().map(|hop| &**hop).collect::<Vec<_>>().join(" to ");
                let text = format!(
                    "the call has been through {HOPS_MAX} hosts already: {path} to {}",
                    self.host_id()
                );
                refuse(ErrorCode::LoopDetected, text)
            }
            Target::Peers(peers) => {
                let Some(this) = self.this.upgrade() else {
                    return refuse(ErrorCode::Unavailable, "the host is stopping".to_owned());
                };
                let mut future: CallFuture = Box::pin(this.call_peers(peers, invocation, arguments));
                match future.as_mut().poll(context) {
                    Poll::Ready(outcome) => Started::Ready(outcome),
                    Poll::Pending => Started::Pending(future),
                }
            }
        }
    }
}

fn refuse(code: ErrorCode, text: String) -> Started {
    Started::Ready(Err(Box::new(Failure::not_executed(code, text))))
}

/// The failure of a call whose body began and did not end in time.
#[must_use]
pub fn deadline_exceeded() -> Box<Failure> {
    Box::new(Failure::executed(
        ErrorCode::DeadlineExceeded,
        "the function did not end in time and was stopped",
    ))
}

/// Counts how a call that suspended ends, or that it was dropped.
struct Running {
    stats: Arc<CallStats>,
    begun: Instant,
    ended: bool,
}

impl Running {
    fn end(&mut self, outcome: Outcome) -> Outcome {
        self.stats.end(&outcome, self.begun.elapsed());
        self.ended = true;
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.stats.cancel(self.begun.elapsed());
        }
    }
}

/// A call that suspended; at its deadline it is dropped.
struct UntilDeadline {
    call: Option<CallFuture>,
    deadline: Pin<Box<Sleep>>,
    running: Running,
    _permit: Option<OwnedSemaphorePermit>,
}

impl UntilDeadline {
    fn start(
        call: CallFuture,
        deadline: Deadline,
        permit: Option<OwnedSemaphorePermit>,
        mut running: Running,
        context: &mut Context<'_>,
    ) -> Started {
        let mut deadline = Box::pin(tokio::time::sleep_until(deadline.0.into()));
        // The call itself was polled when it began; what is left is to have the timer know the task.
        if deadline.as_mut().poll(context).is_pending() {
            return Started::Pending(Box::pin(Self { call: Some(call), deadline, running, _permit: permit }));
        }
        drop(call);
        Started::Ready(running.end(Err(deadline_exceeded())))
    }
}

impl Future for UntilDeadline {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        if let Some(Poll::Ready(outcome)) = self.call.as_mut().map(|call| call.as_mut().poll(context)) {
            return Poll::Ready(self.running.end(outcome));
        }
        if self.deadline.as_mut().poll(context).is_ready() {
            self.call = None;
            return Poll::Ready(self.running.end(Err(deadline_exceeded())));
        }
        Poll::Pending
    }
}
