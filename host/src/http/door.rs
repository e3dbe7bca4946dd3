//! One request: its path is taken once as it is, authorised, and dispatched on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Version};
use hyper::body::{Body, Incoming};

use super::auth::Proof;
use super::body::{self, Taken};
use super::health::Detail;
use super::{
    Admission, BodyMemory, Credential, Limit, Meters, Problem, REQUEST_ID_HEADER, Response, SERVED_BY_HEADER,
    auth, call, catalogue, health, openapi, remote,
};
use crate::base::{CertificateName, Clock, HostId, HostPlace, Invocation, NamedCaller, Outcome, RequestId};
use crate::config::{Access, HEALTH_PATH, READY_PATH, REMOTE_PATH};
pub(super) use crate::config::{FUNCTIONS_PATH, OPENAPI_PATH};
use crate::functions::{Dispatch, run};
use crate::plugins::Plugins;
use crate::router::Router;
use crate::wire::{Compression, KeyId, KeyRing, Limits as WireLimits, ReplayGuard};

/// Answers of so many bytes are not refused for the memory that they take: the refusal would take as much.
const REFUSAL_BYTES: usize = 4096;

/// What the public listener serves.
#[derive(Debug)]
pub struct Door {
    /// Where calls go.
    pub router: Arc<Router>,
    /// For readiness.
    pub plugins: Arc<Plugins>,
    /// Frames that were seen; whatever else changes, these stay known.
    pub replays: ReplayGuard,
    /// What a reload of the config replaces, in one swap. A request keeps the one that it began under.
    pub policy: ArcSwap<Policy>,
    /// The time of this process.
    pub clock: Clock,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// What all bodies together may take.
    pub body_memory: Arc<BodyMemory>,
}

/// Who may ask what of the public listener, and how much.
#[derive(Debug)]
pub struct Policy {
    /// Who needs a key for which path, and who may call without.
    pub access: Access,
    /// How frames of peers are opened.
    pub sealing: Sealing,
    /// Calls at once.
    pub admission: Arc<Admission>,
    /// Sizes and times.
    pub limits: Limits,
}

/// How frames of peers are opened and answered.
#[derive(Debug)]
pub struct Sealing {
    /// The keys of the rule for the path, and those of callers.
    pub ring: KeyRing,
    /// Whose keys of the ring are not those of hosts.
    pub callers: HashMap<KeyId, Arc<NamedCaller>>,
    /// A frame that does not name this process is refused.
    pub require_receiver: bool,
    /// Whether answers to other machines are compressed.
    pub compression: Compression,
}

/// Who a request comes from, as far as its connection shows.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// What the TLS handshake showed of the client; nothing on a plain connection.
    pub credential: Option<Arc<Credential>>,
}

impl Sender {
    /// The name in the client's certificate, which an authority of `server.tls.client_ca` has signed.
    pub(super) fn certificate(&self) -> Option<&CertificateName> {
        self.credential.as_ref().and_then(|credential| credential.name())
    }

    /// Returns true if a new handshake with the same certificate would succeed: it has not expired, and its authority is
    /// still trusted.
    pub(super) fn is_good(&self) -> bool {
        self.credential.as_ref().is_none_or(|credential| credential.is_good())
    }
}

/// Sizes and times that a request may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest body in bytes.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_timeout: std::time::Duration,
    /// Longest time of a call.
    pub call_timeout: std::time::Duration,
    /// What is taken from an authentic sender.
    pub wire: WireLimits,
}

impl Door {
    /// Answers one request from `from`, with what the answer has of the memory.
    pub(super) async fn answer(&self, request: Request<Incoming>, from: &Sender) -> (Response, Taken) {
        let (head, mut body) = request.into_parts();
        let reads = [Method::GET, Method::HEAD].contains(&head.method);
        let response = self.route(&head, &mut body, from).await;
        let response = response.unwrap_or_else(|problem| self.refuse(problem));
        if head.version == Version::HTTP_2 && !body.is_end_stream() {
            body::discard(&mut body).await;
        }
        let (taken, fits) = self.hold(&response);
        match fits {
            Err(problem) if reads && length(&response) > REFUSAL_BYTES => {
                drop((response, taken));
                let response = self.refuse(problem);
                let (taken, _) = self.hold(&response);
                (response, taken)
            }
            // A call has run: its answer goes out whatever it takes. The next call finds no memory for its body.
            _ => (response, taken),
        }
    }

    fn refuse(&self, problem: Problem) -> Response {
        problem.count(&self.meters);
        problem.into_response()
    }

    /// What the answer takes of the memory, and whether that is too much.
    fn hold(&self, response: &Response) -> (Taken, Result<(), Problem>) {
        let mut taken = Taken::nothing(&self.body_memory);
        let fits = taken.more(length(response));
        (taken, fits)
    }

    async fn route(&self, head: &Parts, body: &mut Incoming, from: &Sender) -> Result<Response, Problem> {
        let path = head.uri.path();
        let policy = self.policy.load_full();
        if !from.is_good() {
            return Err(Problem::certificate_lost());
        }
        if path == REMOTE_PATH {
            allow(&head.method, &Method::POST, "POST")?;
            let is_local = from.address.ip().to_canonical().is_loopback();
            return remote::call(self, &policy, head, body, is_local).await;
        }
        check_form(path)?;
        let access = &policy.access;
        let (caller, proof) = auth::admit(access, path, &head.headers, from.certificate())?;
        // Probes ask by any name: a load balancer's own, or that of the service.
        if ![HEALTH_PATH, READY_PATH].contains(&path) {
            auth::check_page(access, proof, head)?;
        }
        if let Some(name) = path.strip_prefix(FUNCTIONS_PATH).and_then(|rest| rest.strip_prefix('/')) {
            allow(&head.method, &Method::POST, "POST")?;
            return Ok(call::call(self, &policy, caller, name, &head.headers, body).await);
        }
        if ![FUNCTIONS_PATH, OPENAPI_PATH, HEALTH_PATH, READY_PATH].contains(&path) {
            return Err(Problem::no_such_path());
        }
        if head.method != Method::HEAD {
            allow(&head.method, &Method::GET, "GET, HEAD")?;
        }
        Ok(match path {
            FUNCTIONS_PATH => catalogue::answer(self, &caller, &head.headers),
            OPENAPI_PATH => openapi::answer(self, access, &caller, &head.headers),
            HEALTH_PATH => health::alive(self),
            _ => {
                let is_known =
                    proof == Proof::Key || auth::is_known(access, &head.headers, from.certificate());
                health::ready(self, if is_known { Detail::Reasons } else { Detail::Names })
            }
        })
    }

    /// Runs one call in its place. `taken` is what its body has of the memory.
    pub(super) async fn run(
        &self,
        policy: &Policy,
        mut invocation: Invocation,
        arguments: Bytes,
        taken: Taken,
    ) -> Outcome {
        let place = policy.admission.enter(invocation.deadline).await;
        let place = place.inspect_err(|_| self.meters.limit(Limit::Queue))?;
        // In the call itself, which may outlive this one, its caller.
        invocation.held = invocation.held.with(taken);
        invocation.place = HostPlace::new(place);
        run(|context| self.router.start(Arc::new(invocation), arguments, context)).await
    }

    /// Adds the headers that name a call and who served it.
    pub(super) fn named(
        &self,
        mut response: Response,
        id: RequestId,
        served_by: Option<&HostId>,
    ) -> Response {
        let served_by = served_by.unwrap_or_else(|| self.router.host_id());
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
            headers.insert(REQUEST_ID_HEADER, value);
        }
        if let Ok(value) = HeaderValue::from_str(served_by) {
            headers.insert(SERVED_BY_HEADER, value);
        }
        response
    }
}

/// The bytes of the body.
fn length(response: &Response) -> usize {
    response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default()
}

/// No path of this host needs an escape, an empty part or a dot part: one that has some is none of ours,
/// whatever another reader would make of it.
fn check_form(path: &str) -> Result<(), Problem> {
    let odd = path.contains(['%', '\\'])
        || path.split('/').skip(1).any(|part| part.is_empty() || part == "." || part == "..");
    if odd && path != "/" { Err(Problem::no_such_path()) } else { Ok(()) }
}

fn allow(found: &Method, allowed: &Method, text: &'static str) -> Result<(), Problem> {
    if found == allowed { Ok(()) } else { Err(Problem::method_not_allowed(text)) }
}
