//! `POST /api/v1/proxy/remote`: sealed calls of peers, in the order of WIRE.md, "Order on receipt".

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;

use crate::base::{
    Caller, Credential, DEPTH_MAX, Deadline, ErrorCode, Failure, Guards, HostId, HostPermit,
    InheritedPermits, Invocation, Outcome, RequestId, ServedBy, milliseconds,
};
use crate::config::{Access, SealedCalls};
use crate::http::limits::{Limit, MemoryPermit, Meters};
use crate::http::policy::Policy;
use crate::http::request::auth::{self, Proof};
use crate::http::request::{ConnectionInfo, Inbound, body};
use crate::http::response::{Problem, Response, with_body};
use crate::http::service::Service;
use crate::wire::{
    self, By, Compression, OpenError, OpenedRequest, Plaintext, RequestEnvelope, ResponseEnvelope,
    ResponseExtensions,
};

/// The result of a hello: MessagePack nil.
const NIL: &[u8] = &[0xc0];

/// A frame, read from the head of its request.
#[derive(Debug)]
pub(crate) struct SealedCall {
    announced: Option<u64>,
    /// No web page can have had it sent.
    is_checked: bool,
}

/// Takes a frame's length from the head of its request.
pub(crate) fn take(
    access: &Access,
    head: &Parts,
    from: &ConnectionInfo,
    meters: &Meters,
) -> Result<SealedCall, Problem> {
    if body::media_type(&head.headers) != wire::CONTENT_TYPE {
        return Err(Problem::unsupported_type(wire::CONTENT_TYPE));
    }
    body::check_encoding(&head.headers)?;
    let is_checked = match access.sealed {
        SealedCalls::WithKey => false,
        // With the public key, a frame proves no more than a plain request without any.
        SealedCalls::Keyless => auth::check_page(access, Proof::Nothing, head).map(|()| true)?,
        SealedCalls::Closed(_) => {
            meters.wrong_keys.closed(from.address.ip());
            return Err(Problem::unauthenticated());
        }
    };
    Ok(SealedCall { announced: body::announced(&head.headers), is_checked })
}

/// Carries out the call in one frame.
pub(crate) async fn call(
    service: &Service,
    call: SealedCall,
    inbound: &mut Inbound<'_>,
) -> Result<Response, Problem> {
    let (frame, mut permit) = read(service, &call, inbound).await?;
    // The keys of now: one that was removed while the frame arrived opens nothing.
    let policy = &*service.policy.load_full();
    let sealing = &policy.sealing;
    let has_key = match policy.access.sealed {
        SealedCalls::WithKey => true,
        SealedCalls::Keyless if call.is_checked => false,
        SealedCalls::Keyless | SealedCalls::Closed(_) => return Err(Problem::unauthenticated()),
    };
    let frame = frame.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let OpenedRequest { key, request_id, sent_at_ms, plaintext } =
        wire::open_request(&sealing.ring, frame).map_err(refused)?;
    inbound.in_flight.uncount();
    let now_ms = service.clock.now_ms();
    let answer = match service.replays.check(request_id, key.id(), sent_at_ms, now_ms) {
        Err(refusal) => {
            let mut answer = refuse(service, Box::new(refusal.to_failure()), None);
            answer.extensions.now_ms = refusal.now_ms();
            answer.extensions.retry = refusal.now_ms().is_some();
            answer
        }
        Ok(()) => match decode(plaintext, &policy.frames, &mut permit) {
            Err((failure, limit)) => refuse(service, failure, limit),
            Ok(envelope) if envelope.extensions.hello.is_some() => introduce(service, request_id, &envelope),
            Ok(envelope) => match misdirected(service, policy, &envelope) {
                Some(refusal) => refusal,
                None => {
                    // Not before: a recorded frame can be sent again without any key.
                    if has_key {
                        inbound.in_flight.known();
                        permit.known();
                    }
                    let caller = match sealing.callers.get(&key.id()) {
                        Some(caller) => Caller::Named(Arc::clone(caller)),
                        None => Caller::Peer(envelope.hops.last().cloned(), Credential::Sealed(key.id())),
                    };
                    let served_by = ServedBy::default();
                    let outcome = run(service, policy, caller, request_id, envelope, permit, &served_by);
                    let mut answer = answer(service, outcome.await);
                    answer.extensions.repeated = served_by.is_repeat();
                    if let Some(host) = served_by.host() {
                        answer.host_id = Arc::clone(host);
                    }
                    answer
                }
            },
        },
    };
    let is_local = inbound.from.address.ip().to_canonical().is_loopback();
    let compression = if is_local { Compression::Never } else { sealing.compression };
    let frame = wire::seal_response(&key, request_id, service.clock.now_ms(), &answer, compression);
    Ok(with_body(wire::CONTENT_TYPE, frame))
}

/// Reads a frame; one that names no key of this host is refused by its first bytes, before the others are taken in.
async fn read(
    service: &Service,
    call: &SealedCall,
    inbound: &mut Inbound<'_>,
) -> Result<(Bytes, MemoryPermit), Problem> {
    let policy = service.policy.load_full();
    // Arguments of the largest size fit, with the envelope around them.
    let bytes_max = policy.frames.plaintext_bytes_max + wire::HEADER_BYTES + wire::TAG_BYTES;
    let within = policy.server.body_timeout.min(policy.server.call_timeout);
    let from = inbound.from;
    let client = Some((inbound.in_flight, from));
    let bounds = body::Bounds { bytes_max, within, memory: &service.body_memory, client };
    let ring = &policy.sealing.ring;
    let names_a_key = |begun: &[u8]| {
        if let Some(key) = wire::unknown_key(ring, begun) {
            service.meters.wrong_keys.unknown(from.address.ip(), key);
        }
        wire::look_at_request(ring, begun).map_err(refused)
    };
    let check = body::Check { bytes: wire::HEADER_BYTES, by: &names_a_key };
    body::read(call.announced, inbound.body, bounds, Some(check)).await
}

/// Returns the problem of a frame that cannot be opened: the same for every fault of authenticity.
fn refused(error: OpenError) -> Problem {
    match error {
        OpenError::Incompatible { .. } => Problem::incompatible_wire(),
        _ => Problem::unauthenticated(),
    }
}

/// Decodes a request, which takes as much more memory as it grows when it is decompressed. Not before it is known to be
/// fresh: what is recorded and sent again is to take nothing.
fn decode(
    plaintext: Plaintext,
    limits: &wire::Limits,
    permit: &mut MemoryPermit,
) -> Result<RequestEnvelope, (Box<Failure>, Option<Limit>)> {
    let grows = plaintext.expanded_bytes(limits).saturating_sub(permit.bytes());
    if permit.grow(grows).is_err() {
        let text = "the bodies of requests take as much memory as they may ([server] body_memory_max)";
        let refused = Failure::not_executed(ErrorCode::Overloaded, text);
        return Err((Box::new(refused), Some(Limit::BodyMemory)));
    }
    plaintext
        .decode_request(limits)
        .map_err(|error| (Box::new(error.to_failure()), error.limit().map(Limit::from)))
}

/// Returns an answer of this process.
fn answer(service: &Service, outcome: Outcome) -> ResponseEnvelope {
    let identity = service.router.identity();
    let by = By { host_id: Arc::clone(identity.host_id()), instance: identity.instance() };
    let extensions = ResponseExtensions { by: Some(by), ..ResponseExtensions::default() };
    ResponseEnvelope { host_id: Arc::clone(identity.host_id()), outcome, extensions }
}

/// Counts a failure, and returns the answer that tells it.
fn refuse(service: &Service, failure: Box<Failure>, limit: Option<Limit>) -> ResponseEnvelope {
    service.meters.refuse(failure.code, limit);
    answer(service, Err(failure))
}

/// Says who opens frames here, and by which clock. Nothing is called.
fn introduce(service: &Service, id: RequestId, envelope: &RequestEnvelope) -> ResponseEnvelope {
    let identity = service.router.identity();
    if envelope.extensions.hello == Some(identity.instance()) {
        identity.opened(id);
    }
    let mut answer = answer(service, Ok(Bytes::from_static(NIL)));
    answer.extensions.now_ms = Some(service.clock.now_ms());
    answer
}

/// Refuses a frame that is not for this process. Nothing of it runs then.
fn misdirected(service: &Service, policy: &Policy, envelope: &RequestEnvelope) -> Option<ResponseEnvelope> {
    let (identity, to) = (service.router.identity(), envelope.extensions.to);
    let (code, text) = match to {
        Some(to) if to == identity.instance() => return None,
        Some(_) => (ErrorCode::Misdirected, "the frame was made for another process"),
        None if !policy.sealing.require_receiver => return None,
        None => (
            ErrorCode::Incompatible,
            "the frame does not name the process that it is for, which plugins.proxy.require_receiver demands here",
        ),
    };
    let mut answer = refuse(service, Box::new(Failure::not_executed(code, text)), None);
    answer.extensions.took_over_ms = to.and_then(|to| identity.took_over_from(to)).map(milliseconds);
    Some(answer)
}

async fn run(
    service: &Service,
    policy: &Policy,
    caller: Caller,
    id: RequestId,
    envelope: RequestEnvelope,
    permit: MemoryPermit,
    served_by: &ServedBy,
) -> Outcome {
    check_loops(service.router.host_id(), &envelope)?;
    // A call within a call has the id of that one on every host, so that their logs can be joined.
    let id = envelope.extensions.call.unwrap_or(id);
    auth::authorise(&caller, &envelope.function, id)?;
    let most = policy.server.call_timeout;
    let remaining = match envelope.remaining_ms {
        0 => most,
        remaining_ms => Duration::from_millis(remaining_ms).min(most),
    };
    let invocation = Invocation {
        id,
        function: envelope.function,
        caller,
        deadline: Deadline::after(remaining),
        hops: envelope.hops,
        depth: envelope.extensions.depth,
        traceparent: envelope.traceparent,
        idempotency_key: envelope.idempotency_key,
        served_by: served_by.clone(),
        guards: Guards::default(),
        host_permit: HostPermit::default(),
        inherited: InheritedPermits::default(),
    };
    service.run(policy, invocation, envelope.arguments, permit).await
}

/// Refuses a call that has been here before: this very process, or another host of the same id; and one that too many
/// calls wait for.
fn check_loops(host_id: &HostId, envelope: &RequestEnvelope) -> Result<(), Box<Failure>> {
    if envelope.hops.contains(host_id) {
        let path = envelope.hops.iter().map(|hop| &**hop).collect::<Vec<_>>().join(" to ");
        let text = format!("the call went in a circle: {path} to {host_id}");
        return Err(Box::new(Failure::not_executed(ErrorCode::LoopDetected, text)));
    }
    if envelope.extensions.depth > DEPTH_MAX {
        return Err(Box::new(Failure::too_deep(&envelope.function)));
    }
    Ok(())
}
