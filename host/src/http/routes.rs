//! From a request to its response: its path is taken once, as it is, authorised, and dispatched on.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Version};
use hyper::body::Body;

use super::documents::Which;
use super::limits::{InFlight, MemoryPermit, OutOfMemory};
use super::request::auth::{self, Proof};
use super::request::{ConnectionInfo, Inbound, body, head};
use super::response::{Problem, Response, Tags};
use super::service::Service;
use crate::api::{FUNCTIONS_PATH, HEALTH_PATH, OPENAPI_PATH, READY_PATH, REMOTE_PATH};
use crate::base::{Caller, ErrorCode, Failure};

mod call;
pub(crate) mod health;
mod sealed;

use health::Detail;

/// Responses up to this many bytes are not refused for the memory that they take: the refusal would take as much.
const REFUSAL_BYTES: usize = 4096;

/// The parsed head of a request. The parts that are still needed are in here; no other part is kept.
#[derive(Debug)]
pub(crate) struct Route {
    is_http2: bool,
    /// The method is GET or HEAD.
    reads: bool,
    target: Result<RouteTarget, Problem>,
}

#[derive(Debug)]
enum RouteTarget {
    /// A sealed call.
    Sealed(sealed::SealedCall),
    /// A plain call.
    Plain(Box<call::PlainCall>),
    /// A document, for a client that has some versions already.
    Document(Which, Caller, Tags),
    Health,
    Ready(Detail),
}

impl Route {
    /// Returns true for probes: they are answered at once, and need no worker.
    pub(crate) fn is_probe(&self) -> bool {
        matches!(self.target, Ok(RouteTarget::Health | RouteTarget::Ready(_)))
    }

    /// Refuses it, unless it is a probe.
    pub(crate) fn of_probes_alone(self) -> Self {
        let target = match self.target {
            Ok(RouteTarget::Sealed(_) | RouteTarget::Plain(_)) => {
                Err(Problem::too_many_connections().of_call())
            }
            Ok(RouteTarget::Document(..)) => Err(Problem::too_many_connections()),
            other => other,
        };
        Self { target, ..self }
    }
}

impl Service {
    /// Reads from a head what it asks for. Nothing is awaited meanwhile.
    pub(crate) fn take(&self, head: Parts, from: &ConnectionInfo, in_flight: &InFlight) -> Route {
        Route {
            is_http2: head.version == Version::HTTP_2,
            reads: [Method::GET, Method::HEAD].contains(&head.method),
            target: self.route(&head, from, in_flight).map_err(|problem| match is_call(head.uri.path()) {
                true => problem.of_call(),
                false => problem,
            }),
        }
    }

    fn route(
        &self,
        head: &Parts,
        from: &ConnectionInfo,
        in_flight: &InFlight,
    ) -> Result<RouteTarget, Problem> {
        head::check(head)?;
        if !from.is_good() {
            return Err(Problem::certificate_lost());
        }
        let path = head.uri.path();
        let policy = self.policy.load();
        let access = &policy.access;
        if path == REMOTE_PATH {
            check_post(&head.method)?;
            return sealed::take(access, head, from, &self.meters).map(RouteTarget::Sealed);
        }
        check_form(path)?;
        let (caller, proof) = auth::admit(access, path, &head.headers, from.certificate_name())?;
        if proof != Proof::Nothing {
            in_flight.known();
        }
        // Probes ask by any name: a load balancer's own, or that of the service.
        if ![HEALTH_PATH, READY_PATH].contains(&path) {
            auth::check_page(access, proof, head)?;
        }
        if let Some(name) = path.strip_prefix(FUNCTIONS_PATH).and_then(|rest| rest.strip_prefix('/')) {
            check_post(&head.method)?;
            let call = call::take(&policy, caller, name, &head.headers, !in_flight.is_strangers());
            return Ok(RouteTarget::Plain(Box::new(call)));
        }
        let reads = [Method::GET, Method::HEAD].contains(&head.method);
        Ok(match path {
            FUNCTIONS_PATH | OPENAPI_PATH | HEALTH_PATH | READY_PATH if !reads => {
                return Err(Problem::method_not_allowed("GET, HEAD"));
            }
            FUNCTIONS_PATH => RouteTarget::Document(Which::Catalogue, caller, head::tags(&head.headers)),
            OPENAPI_PATH => RouteTarget::Document(Which::OpenApi, caller, head::tags(&head.headers)),
            HEALTH_PATH => RouteTarget::Health,
            READY_PATH => {
                let is_known =
                    proof == Proof::Key || auth::is_known(access, &head.headers, from.certificate_name());
                RouteTarget::Ready(if is_known { Detail::Reasons } else { Detail::Names })
            }
            _ => return Err(Problem::no_such_path()),
        })
    }

    /// Carries out one request. Returns its response and the memory of that.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        route: Route,
        mut inbound: Inbound<'_>,
    ) -> (Response, MemoryPermit) {
        let Route { is_http2, reads, target } = route;
        let response = match target {
            Ok(target) => tokio::select! {
                biased;
                response = self.serve(target, &mut inbound) => response,
                // A call whose body has arrived says more of itself, in `run`.
                () = self.ending.overdue() => Err(stopping()),
            },
            Err(problem) => Err(problem),
        };
        let response = response.unwrap_or_else(|problem| self.refuse(problem));
        if is_http2 && !inbound.body.is_end_stream() {
            body::discard(inbound.body).await;
        }
        let (permit, fits) = self.hold(&response, inbound.in_flight);
        match fits {
            Err(OutOfMemory) if reads && response.body().len() > REFUSAL_BYTES => {
                drop((response, permit));
                let response = self.refuse(OutOfMemory.into());
                let (permit, _) = self.hold(&response, inbound.in_flight);
                (response, permit)
            }
            // A call has run: its response goes out, even beyond the limit. The next call finds no memory for its body.
            _ => (response, permit),
        }
    }

    async fn serve(
        self: &Arc<Self>,
        target: RouteTarget,
        inbound: &mut Inbound<'_>,
    ) -> Result<Response, Problem> {
        match target {
            RouteTarget::Sealed(call) => sealed::call(self, call, inbound).await.map_err(Problem::of_call),
            RouteTarget::Plain(call) => Ok(call::call(self, *call, inbound).await),
            RouteTarget::Document(which, caller, tags) => {
                let policy = self.policy.load_full();
                Ok(self.documents.get(&self.router, &policy, which, &caller).await?.answer(&tags))
            }
            RouteTarget::Health => Ok(health::alive(self)),
            RouteTarget::Ready(detail) => Ok(health::ready(self, detail).await),
        }
    }

    fn refuse(&self, problem: Problem) -> Response {
        problem.count(&self.meters);
        problem.into_response()
    }

    /// Returns the memory of a response, and an error if that is too much.
    fn hold(&self, response: &Response, in_flight: &InFlight) -> (MemoryPermit, Result<(), OutOfMemory>) {
        let mut permit = MemoryPermit::new(&self.body_memory, in_flight.is_strangers());
        let fits = permit.grow(response.body().len());
        (permit, fits)
    }
}

/// The problem of a request whose body was awaited when the host ended.
fn stopping() -> Problem {
    let text = "the host ends, and the request has not arrived yet";
    Failure::not_executed(ErrorCode::Unavailable, text).into()
}

/// Returns true for the paths of calls, also if the request is not valid.
fn is_call(path: &str) -> bool {
    let of_function = path.strip_prefix(FUNCTIONS_PATH).is_some_and(|rest| rest.starts_with('/'));
    of_function || path == REMOTE_PATH
}

/// Refuses paths with an escape, an empty part or a dot part: no path of this host needs them, and another reader could
/// understand them differently.
fn check_form(path: &str) -> Result<(), Problem> {
    let odd = path.contains(['%', '\\'])
        || path.split('/').skip(1).any(|part| part.is_empty() || part == "." || part == "..");
    if odd && path != "/" { Err(Problem::no_such_path()) } else { Ok(()) }
}

fn check_post(method: &Method) -> Result<(), Problem> {
    if method == Method::POST { Ok(()) } else { Err(Problem::method_not_allowed("POST")) }
}
