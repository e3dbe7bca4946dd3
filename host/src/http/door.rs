//! One request: its path is taken once as it is, authorised, and dispatched on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Version};
use hyper::body::{Body, Incoming};

use super::activity::Busy;
use super::auth::Proof;
use super::body::{self, Guest, Taken};
use super::conditional::Tags;
use super::connections::Connections;
use super::documents::{Documents, Which};
use super::health::Detail;
use super::{
    Admission, BodyMemory, Credential, InForce, Limit, Meters, Problem, Response, auth, call, ending::Ending,
    head, health, remote,
};
use crate::api::{
    FUNCTIONS_PATH, HEALTH_PATH, OPENAPI_PATH, READY_PATH, REMOTE_PATH, REQUEST_ID_HEADER, SERVED_BY_HEADER,
};
use crate::base::{
    Caller, CertificateName, Clock, ErrorCode, Failure, HostId, HostPlace, Invocation, NamedCaller, Outcome,
    RequestId,
};
use crate::config::Access;
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
    /// What a reload of the config replaces, in one swap. A call is judged by the one that is in force when its body has
    /// arrived.
    pub policy: ArcSwap<Policy>,
    /// The time of this process.
    pub clock: Clock,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// What all bodies together may take.
    pub body_memory: Arc<BodyMemory>,
    /// The catalogue and OpenAPI, as they were made last.
    pub documents: Documents,
    /// How far the end of the host has come.
    pub ending: Ending,
    /// Whether the config on disk is the one in force.
    pub in_force: InForce,
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
    /// All connections of the listener, of which some make room for others.
    pub(super) connections: Arc<Connections>,
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
    /// Longest result of a function that runs here, and longest JSON of any result, in bytes.
    pub answer_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_timeout: std::time::Duration,
    /// Longest time of a call.
    pub call_timeout: std::time::Duration,
    /// What is taken from an authentic sender.
    pub wire: WireLimits,
}

/// What a request asks for: all of its head that is needed once more is in here, and no other part of it is kept.
#[derive(Debug)]
pub(super) struct Asked {
    is_http2: bool,
    /// The method is GET or HEAD.
    reads: bool,
    what: Result<What, Problem>,
}

#[derive(Debug)]
enum What {
    /// A sealed call.
    Sealed(remote::Asked),
    /// A plain call.
    Plain(Box<call::Asked>),
    /// One of the documents, by a client that has some of these already.
    Document(Which, Caller, Tags),
    Health,
    Ready(Detail),
}

impl Asked {
    /// Returns true for what probes ask: it is answered at once, and needs no worker.
    pub(super) fn is_probe(&self) -> bool {
        matches!(self.what, Ok(What::Health | What::Ready(_)))
    }
}

impl Door {
    /// Takes from a head what it asks for. The request has begun by now, and nothing was awaited.
    pub(super) fn take(&self, head: Parts, from: &Sender, busy: &Busy) -> Asked {
        Asked {
            is_http2: head.version == Version::HTTP_2,
            reads: [Method::GET, Method::HEAD].contains(&head.method),
            what: self.route(&head, from, busy).map_err(|problem| match is_call(head.uri.path()) {
                true => problem.of_call(),
                false => problem,
            }),
        }
    }

    fn route(&self, head: &Parts, from: &Sender, busy: &Busy) -> Result<What, Problem> {
        head::check(head)?;
        if !from.is_good() {
            return Err(Problem::certificate_lost());
        }
        let path = head.uri.path();
        let policy = self.policy.load();
        let access = &policy.access;
        if path == REMOTE_PATH {
            allow(&head.method, &Method::POST, "POST")?;
            return remote::take(access, head, from, &self.meters).map(What::Sealed);
        }
        check_form(path)?;
        let (caller, proof) = auth::admit(access, path, &head.headers, from.certificate())?;
        if proof != Proof::Nothing {
            busy.known();
        }
        // Probes ask by any name: a load balancer's own, or that of the service.
        if ![HEALTH_PATH, READY_PATH].contains(&path) {
            auth::check_page(access, proof, head)?;
        }
        if let Some(name) = path.strip_prefix(FUNCTIONS_PATH).and_then(|rest| rest.strip_prefix('/')) {
            allow(&head.method, &Method::POST, "POST")?;
            let asked = call::take(&policy, caller, name, &head.headers, !busy.is_strangers());
            return Ok(What::Plain(Box::new(asked)));
        }
        if ![FUNCTIONS_PATH, OPENAPI_PATH, HEALTH_PATH, READY_PATH].contains(&path) {
            return Err(Problem::no_such_path());
        }
        if head.method != Method::HEAD {
            allow(&head.method, &Method::GET, "GET, HEAD")?;
        }
        Ok(match path {
            FUNCTIONS_PATH => What::Document(Which::Catalogue, caller, head::tags(&head.headers)),
            OPENAPI_PATH => What::Document(Which::OpenApi, caller, head::tags(&head.headers)),
            HEALTH_PATH => What::Health,
            _ => {
                let is_known =
                    proof == Proof::Key || auth::is_known(access, &head.headers, from.certificate());
                What::Ready(if is_known { Detail::Reasons } else { Detail::Names })
            }
        })
    }

    /// Answers one request, with what the answer has of the memory.
    pub(super) async fn answer(
        self: &Arc<Self>,
        asked: Asked,
        mut body: Incoming,
        guest: Guest<'_>,
    ) -> (Response, Taken) {
        let Asked { is_http2, reads, what } = asked;
        let response = match what {
            Ok(what) => tokio::select! {
                biased;
                response = self.serve(what, &mut body, guest) => response,
                // A call whose body has arrived says more of itself, in `run`.
                () = self.ending.overdue() => Err(stopping()),
            },
            Err(problem) => Err(problem),
        };
        let response = response.unwrap_or_else(|problem| self.refuse(problem));
        if is_http2 && !body.is_end_stream() {
            body::discard(&mut body).await;
        }
        let (taken, fits) = self.hold(&response, guest);
        match fits {
            Err(problem) if reads && length(&response) > REFUSAL_BYTES => {
                drop((response, taken));
                let response = self.refuse(problem);
                let (taken, _) = self.hold(&response, guest);
                (response, taken)
            }
            // A call has run: its answer goes out whatever it takes. The next call finds no memory for its body.
            _ => (response, taken),
        }
    }

    async fn serve(
        self: &Arc<Self>,
        what: What,
        body: &mut Incoming,
        guest: Guest<'_>,
    ) -> Result<Response, Problem> {
        match what {
            What::Sealed(asked) => remote::call(self, asked, body, guest).await.map_err(Problem::of_call),
            What::Plain(asked) => Ok(call::call(self, *asked, body, guest).await),
            What::Document(which, caller, tags) => {
                let policy = self.policy.load_full();
                Ok(self.documents.get(&self.router, &policy, which, &caller).await?.answer(&tags))
            }
            What::Health => Ok(health::alive(self)),
            What::Ready(detail) => Ok(health::ready(self, detail).await),
        }
    }

    fn refuse(&self, problem: Problem) -> Response {
        problem.count(&self.meters);
        problem.into_response()
    }

    /// What the answer takes of the memory, and whether that is too much.
    fn hold(&self, response: &Response, guest: Guest<'_>) -> (Taken, Result<(), Problem>) {
        let mut taken = Taken::nothing(&self.body_memory, guest.busy.is_strangers());
        let fits = taken.more(length(response));
        (taken, fits)
    }

    /// Runs one call in its place. `taken` is what its body has of the memory.
    pub(super) async fn run(
        &self,
        policy: &Policy,
        mut invocation: Invocation,
        arguments: Bytes,
        taken: Taken,
    ) -> Outcome {
        let place = tokio::select! {
            biased;
            place = policy.admission.enter(invocation.deadline) => place,
            () = self.ending.overdue() => {
                let text = "the host ends, and the call has not begun";
                return Err(Box::new(Failure::not_executed(ErrorCode::Unavailable, text)));
            }
        };
        let place = place.inspect_err(|_| self.meters.limit(Limit::Queue))?;
        // In the call itself, which may outlive this one, its caller.
        invocation.held = invocation.held.with(taken);
        invocation.place = HostPlace::new(place);
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
    pub(super) fn named(&self, mut response: Response, id: RequestId, ran_on: Option<&HostId>) -> Response {
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

/// The host ends while the body of a request is awaited.
fn stopping() -> Problem {
    let text = "the host ends, and the request has not arrived yet";
    Problem::of_failure(&Failure::not_executed(ErrorCode::Unavailable, text))
}

/// Returns true for the paths of calls, whatever else is wrong with a request for one.
fn is_call(path: &str) -> bool {
    let of_function = path.strip_prefix(FUNCTIONS_PATH).is_some_and(|rest| rest.starts_with('/'));
    of_function || path == REMOTE_PATH
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
