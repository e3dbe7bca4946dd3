//! Carrying the decision out.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Context;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::budget::RetryBudget;
use super::decision::{self, Decision, Target, Ways, decide};
use super::idempotency::outcomes::Outcomes;
use super::until_deadline::{SuspendedCall, UntilDeadline, bounded, in_time};
use crate::base::{
    ConcurrencyLimit, ErrorCode, Failure, FunctionName, HOPS_MAX, HostId, Identity, Invocation, Limiter,
    Outcome, Tasks,
};
use crate::config::Fallback;
use crate::functions::{Function, Handler, Started, Table};
use crate::peers::{Offered, Peer, PeerSpec};

/// Time that dropped calls have to end.
const DROP_GRACE: Duration = Duration::from_secs(1);
/// Maximum number of repeats that wait for their first call: the default number of calls that a host runs at once.
pub(super) const JOINED_MAX: usize = 1024;

/// Routes calls.
pub struct Router {
    /// This process, as peers know it.
    identity: Arc<Identity>,
    table: Arc<Table>,
    routes: ArcSwap<Routes>,
    /// The retry budget.
    pub(super) budget: RetryBudget,
    /// Calls with idempotency keys.
    pub(super) outcomes: Arc<Outcomes>,
    /// Owns the running calls with idempotency keys.
    pub(super) once_tasks: Tasks,
    /// Longest result of a function that runs here, in bytes.
    answer_bytes_max: AtomicUsize,
    /// The permits of repeats that wait for a call with their key.
    pub(super) joined: Arc<Limiter>,
    /// Owns the calls that go on with a stack of their own.
    pub(super) stack_tasks: Tasks,
    /// Called when the targets of functions may have changed: a peer turned out to be this very host, or other peers
    /// were found.
    on_routes: OnceLock<Box<dyn Fn() + Send + Sync>>,
    pub(super) this: Weak<Self>,
}

/// The routes of the config, replaced in one swap. A call keeps the routes that it began under.
#[derive(Debug)]
pub struct Routes {
    /// The peers of each function that is configured to run on some.
    pub configured: HashMap<FunctionName, PeerSet>,
    /// All peers; what their catalogues offer runs there.
    pub all: PeerSet,
    /// The rule for a call that provably did not run on its peers.
    pub fallback: Fallback,
    /// Maximum time that a call waits for a peer to come back.
    pub wait: Duration,
}

/// A call that runs here.
pub(super) struct LocalCall {
    pub(super) invocation: Arc<Invocation>,
    pub(super) arguments: Bytes,
    pub(super) begun: Instant,
}

impl LocalCall {
    /// A call that begins now.
    pub(super) fn new(invocation: Arc<Invocation>, arguments: Bytes) -> Self {
        Self { invocation, arguments, begun: Instant::now() }
    }
}

/// Some peers, in the order of the config.
#[derive(Debug, Default)]
pub struct PeerSet {
    /// The peers that calls can go to.
    pub peers: Vec<Arc<Peer>>,
    /// The peers that discovery has not found yet, by the URL of the config.
    pub pending: Vec<Arc<PeerSpec>>,
}

impl Routes {
    fn of<'a>(&'a self, name: &FunctionName, hops: &'a [HostId]) -> Ways<'a> {
        let (configured, pending) =
            self.configured.get(name).map_or((&[][..], &[][..]), |set| (&set.peers, &set.pending));
        Ways { configured, pending, peers: &self.all.peers, hops, fallback: self.fallback }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Router {
    /// Creates a router over the functions of `table` and the peers of `routes`, which keeps no outcomes of calls yet
    /// ([`Outcomes::set_bounds`]).
    pub fn new(identity: Arc<Identity>, table: Arc<Table>, routes: Routes) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            identity,
            table,
            routes: ArcSwap::from_pointee(routes),
            budget: RetryBudget::new(Instant::now()),
            outcomes: Arc::default(),
            once_tasks: Tasks::default(),
            answer_bytes_max: AtomicUsize::new(usize::MAX),
            joined: Arc::new(Limiter::new(ConcurrencyLimit { in_flight_max: JOINED_MAX, queue_max: 0 })),
            stack_tasks: Tasks::default(),
            on_routes: OnceLock::new(),
            this: this.clone(),
        })
    }

    /// Sets the function to call when the targets of functions may have changed; the first one stays.
    pub fn on_routes(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.on_routes.get_or_init(|| Box::new(tell));
    }

    /// Reports that the targets of functions may have changed.
    pub fn tell_routes(&self) {
        self.on_routes.get().into_iter().for_each(|tell| tell());
    }

    /// Returns the id of this host.
    pub fn host_id(&self) -> &HostId {
        self.identity.host_id()
    }

    /// Returns this process, as peers know it.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the function table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Returns the routes.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// Replaces the routes; calls that have begun go on under the old ones.
    pub fn set_routes(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// Sets the longest result, in bytes, that a function may return here: a longer one is a failure.
    pub fn set_answer_bytes_max(&self, bytes: usize) {
        self.answer_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Returns all peers, by URL.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        let mut peers = self.routes.load().all.peers.clone();
        peers.sort_by(|one, other| one.url().cmp(other.url()));
        peers
    }

    /// Returns the names of all functions that peers offer.
    pub fn offered_names(&self) -> BTreeSet<FunctionName> {
        let routes = self.routes();
        let catalogues = routes.all.peers.iter().filter_map(|peer| peer.offers());
        catalogues.flat_map(|catalogue| catalogue.names().cloned().collect::<Vec<_>>()).collect()
    }

    /// Returns the description of a function by the first of these peers that offers it.
    pub fn offered(&self, name: &FunctionName, peers: &[Arc<Peer>]) -> Option<Arc<Offered>> {
        peers.iter().find_map(|peer| peer.offered(name))
    }

    /// Returns the memory of calls with idempotency keys.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// Waits for the calls with idempotency keys, which go on without their callers, and drops what runs after `grace`.
    pub async fn end(&self, grace: Duration) {
        if !self.once_tasks.end(grace).await {
            self.once_tasks.abandon(DROP_GRACE).await;
        }
        // Those end with the calls that they are made within.
        self.stack_tasks.end(DROP_GRACE).await;
    }

    /// Returns the current target of a function.
    pub fn target(&self, name: &FunctionName) -> Target {
        decide(name, &self.table.snapshot(), self.routes.load().of(name, &[]))
    }

    /// Returns the current target of a function, with the reasons.
    pub fn explain(&self, name: &FunctionName) -> Decision {
        decision::explain(name, &self.table.snapshot(), self.routes.load().of(name, &[]))
    }

    /// Returns the target of a call and logs the reasons at level debug, in the words of [`Router::explain`].
    pub(super) fn target_of(&self, invocation: &Invocation) -> Target {
        let name = &invocation.function;
        let (table, routes) = (self.table.snapshot(), self.routes.load());
        let ways = routes.of(name, &invocation.hops);
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return decide(name, &table, ways);
        }
        let Decision { target, because, .. } = decision::explain(name, &table, ways);
        tracing::debug!(function = %name, request_id = %invocation.id, because = because.join("; "), "where the call runs");
        target
    }

    /// Begins the call on the current stack.
    pub(super) fn run_on_this_stack(
        &self,
        function: &Function,
        call: LocalCall,
        context: &mut Context<'_>,
    ) -> Started {
        if !call.invocation.host_permit.take_share(&function.limits.share_of_host) {
            return refuse_share(function);
        }
        if function.limits.is_limited() {
            return self.run_limited(function, call, context);
        }
        self.run_body(function, call, context)
    }

    /// Begins a call that has its permits.
    pub(super) fn run_body(
        &self,
        function: &Function,
        call: LocalCall,
        context: &mut Context<'_>,
    ) -> Started {
        let LocalCall { invocation, arguments, begun } = call;
        let deadline = invocation.deadline;
        function.stats.begin();
        let bytes_max = self.answer_bytes_max.load(Ordering::Relaxed);
        match function.handler.start(invocation, arguments, context) {
            Started::Ready(outcome) => {
                let ended = Instant::now();
                let outcome = in_time(outcome, &function.name, deadline, ended);
                let outcome = bounded(outcome, &function.name, bytes_max);
                function.stats.end(&outcome, ended.saturating_duration_since(begun));
                Started::Ready(outcome)
            }
            Started::Pending(future) => {
                let (stats, name) = (Arc::clone(&function.stats), function.name.clone());
                let running = SuspendedCall { stats, name, bytes_max, begun, ended: false };
                UntilDeadline::start(future, deadline, running, context)
            }
        }
    }

    pub(super) fn has(&self, name: &FunctionName) -> bool {
        self.table.snapshot().find(name.as_str()).is_some()
    }

    /// Looks a function up: the plugin may have been replaced since it was decided that the call runs here.
    pub(super) fn find_here(&self, invocation: &Invocation) -> Result<Arc<Function>, Box<Failure>> {
        let function = self.table.snapshot().find(invocation.function.as_str()).cloned();
        function.ok_or_else(|| self.not_found(invocation))
    }

    pub(super) async fn call_here(&self, invocation: Arc<Invocation>, arguments: Bytes) -> Outcome {
        let function = self.find_here(&invocation)?;
        let call = LocalCall::new(invocation, arguments);
        // The function is released first: a call that waits for a permit holds no generation back.
        crate::functions::run(move |context| self.run_here(&function, call, context)).await
    }

    /// Begins a call, without looking at its idempotency key.
    pub(super) fn route(
        &self,
        invocation: Arc<Invocation>,
        arguments: Bytes,
        context: &mut Context<'_>,
    ) -> Started {
        match self.target_of(&invocation) {
            Target::Local(function) => {
                self.run_here(&function, LocalCall::new(invocation, arguments), context)
            }
            Target::Nowhere => Started::Ready(Err(self.not_found(&invocation))),
            Target::Pending(_) => self.run_undiscovered(invocation, arguments, context),
            Target::Peers(_) if invocation.hops.len() >= HOPS_MAX => {
                let path = invocation.hops.iter().map(|hop| &**hop).collect::<Vec<_>>().join(" to ");
                let text = format!(
                    "the call has been through {HOPS_MAX} hosts already: {path} to {}",
                    self.host_id()
                );
                refuse(ErrorCode::LoopDetected, text)
            }
            Target::Peers(peers) => {
                let Some(this) = self.this.upgrade() else { return stopping() };
                Started::poll(Box::pin(this.call_peers(peers, invocation, arguments)), context)
            }
        }
    }

    /// Begins a call whose peers are all undiscovered as yet: here, if that is configured.
    fn run_undiscovered(
        &self,
        invocation: Arc<Invocation>,
        arguments: Bytes,
        context: &mut Context<'_>,
    ) -> Started {
        let name = &invocation.function;
        match self.table.snapshot().find(name.as_str()) {
            Some(function) if self.routes.load().fallback == Fallback::Local => {
                tracing::warn!(function = %name, request_id = %invocation.id, "no peer ran the call, so it runs here: fallback = \"local\"");
                self.run_here(function, LocalCall::new(invocation, arguments), context)
            }
            _ => {
                let text = format!("none of the peers that function `{name}` runs on has been found yet");
                refuse(ErrorCode::Unavailable, text)
            }
        }
    }
}

impl Handler for Router {
    fn start(&self, invocation: Arc<Invocation>, arguments: Bytes, context: &mut Context<'_>) -> Started {
        if invocation.deadline.0 <= Instant::now() {
            let text =
                format!("the time ran out before the call of function `{}` began", invocation.function);
            return refuse(ErrorCode::DeadlineExceeded, text);
        }
        if invocation.idempotency_key.is_none() {
            return self.route(invocation, arguments, context);
        }
        match self.this.upgrade() {
            Some(this) => this.dedupe(invocation, arguments, context),
            None => stopping(),
        }
    }
}

pub(super) fn stopping() -> Started {
    refuse(ErrorCode::Unavailable, "the host is stopping".to_owned())
}

fn refuse(code: ErrorCode, text: String) -> Started {
    Started::Ready(Err(Box::new(Failure::not_executed(code, text))))
}

/// A function uses all permits of the host that it may.
fn refuse_share(function: &Function) -> Started {
    let text = format!(
        "calls of function `{}` take as many places of the host as they may ([server] in_flight_per_function_max)",
        function.name
    );
    function.stats.refuse(ErrorCode::Overloaded);
    refuse(ErrorCode::Overloaded, text)
}
