//! The public listener's state, and the one way in which it runs a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use super::documents::Documents;
use super::limits::{BodyMemory, Limit, MemoryPermit, Meters};
use super::policy::Policy;
use super::response::Response;
use crate::api::{REQUEST_ID_HEADER, SERVED_BY_HEADER};
use crate::base::{
    AcquireError, Clock, ErrorCode, Failure, HostId, HostPermit, Invocation, Outcome, RequestId,
};
use crate::functions::{Handler, run};
use crate::plugins::Plugins;
use crate::router::Router;
use crate::wire::ReplayGuard;

mod in_force;

pub use in_force::{ConfigFiles, InForce};

pub(crate) use in_force::ConfigGap;

/// The state behind the public listener.
#[derive(Debug)]
pub struct Service {
    /// Carries out calls.
    pub router: Arc<Router>,
    /// The plugins, for readiness.
    pub plugins: Arc<Plugins>,
    /// The frames that were seen; no reload forgets them.
    pub replays: ReplayGuard,
    /// The policy in force. A call is judged by the one that is in force when its body has arrived.
    pub policy: ArcSwap<Policy>,
    /// The time of this process.
    pub clock: Clock,
    /// The counts for `/metrics`.
    pub meters: Arc<Meters>,
    /// The memory of all bodies together.
    pub body_memory: Arc<BodyMemory>,
    /// The catalogue and OpenAPI, as they were made last.
    pub documents: Documents,
    /// The progress of the host's end.
    pub ending: Ending,
    /// The config in force, compared with the one on disk.
    pub in_force: InForce,
}

impl Service {
    /// Runs one call once admission permits it. `memory` is the permit for that of its body.
    pub(crate) async fn run(
        &self,
        policy: &Policy,
        mut invocation: Invocation,
        arguments: Bytes,
        memory: MemoryPermit,
    ) -> Outcome {
        let permit = tokio::select! {
            biased;
            permit = policy.admission.acquire(invocation.deadline) => permit,
            () = self.ending.overdue() => {
                let text = "the host ends, and the call has not begun";
                return Err(Box::new(Failure::not_executed(ErrorCode::Unavailable, text)));
            }
        };
        let permit = permit.inspect_err(|_| self.meters.limit(Limit::Queue)).map_err(not_admitted)?;
        // In the call itself, which may outlive this one, its caller.
        invocation.guards = invocation.guards.with(memory);
        invocation.host_permit = HostPermit::new(permit);
        tokio::select! {
            biased;
            outcome = run(|context| self.router.start(Arc::new(invocation), arguments, context)) => outcome,
            () = self.ending.overdue() => {
                let text = "the host ends, and the drain deadline passed before the call had ended";
                Err(Box::new(Failure::new(ErrorCode::Cancelled, text)))
            }
        }
    }

    /// Adds the headers that name a call, and the host that its function's body ran on, if it ran.
    pub(crate) fn named(&self, mut response: Response, id: RequestId, ran_on: Option<&HostId>) -> Response {
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
            headers.insert(REQUEST_ID_HEADER, value);
        }
        if let Some(value) = ran_on.and_then(|host| HeaderValue::from_str(host).ok()) {
            headers.insert(SERVED_BY_HEADER, value);
        }
        response
    }
}

/// The progress of the host's end, as the listeners see it: announced, then, once the drain deadline has passed, overdue.
#[derive(Debug, Default)]
pub struct Ending {
    is_announced: AtomicBool,
    overdue: CancellationToken,
}

impl Ending {
    /// The host is to end soon. It still serves; it says that it is not ready, and connections of HTTP/1.1 end with
    /// their next answer.
    pub fn announce(&self) {
        self.is_announced.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.is_announced.load(Ordering::Relaxed)
    }

    /// Ends the calls that are still in flight: the drain deadline has passed, and their clients are told so.
    pub fn give_up_calls(&self) {
        self.overdue.cancel();
    }

    pub(crate) async fn overdue(&self) {
        self.overdue.cancelled().await;
    }
}

/// Returns the failure of a call that got no permit of the host.
fn not_admitted(why: AcquireError) -> Box<Failure> {
    let (code, text) = match why {
        AcquireError::QueueFull => {
            (ErrorCode::Overloaded, "the host runs as many calls as it may, and its queue is full")
        }
        AcquireError::TimeRanOut => {
            (ErrorCode::DeadlineExceeded, "the time ran out while the call waited for a place")
        }
    };
    Box::new(Failure::not_executed(code, text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::{ConcurrencyLimit, Deadline, Executed, Limiter};

    #[tokio::test(start_paused = true)]
    async fn refusals_have_the_code_of_their_reason() {
        let deadline = Deadline::after(Duration::from_secs(5));
        for (queue_max, code) in [(0, ErrorCode::Overloaded), (1, ErrorCode::DeadlineExceeded)] {
            let admission = Arc::new(Limiter::new(ConcurrencyLimit { in_flight_max: 1, queue_max }));
            let _permit = admission.acquire(deadline).await.unwrap();
            let refused = not_admitted(admission.acquire(deadline).await.unwrap_err());
            assert_eq!((refused.code, refused.executed), (code, Executed::No));
        }
    }
}
