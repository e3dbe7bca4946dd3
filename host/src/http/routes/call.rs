//! `POST /api/v1/functions/{name}`: calls of clients other than peers, in JSON or MessagePack.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use crate::api::{FUNCTIONS_PATH, IDEMPOTENCY_KEY_HEADER, JSON, REPLAYED_HEADER, TIMEOUT_HEADER};
use crate::base::{
    Caller, Deadline, ErrorCode, Failure, FunctionName, Guards, HostPermit, IDEMPOTENCY_KEY_BYTES_MAX,
    InheritedPermits, Invocation, RequestId, ServedBy,
};
use crate::http::limits::Limit;
use crate::http::policy::Policy;
use crate::http::request::{Inbound, accept, auth, body, head};
use crate::http::response::{Problem, Response, with_body};
use crate::http::service::Service;
use crate::http::transcode::{self, JsonError, NoJson};
use crate::wire::{self, check_arguments, check_value};

const MESSAGE_PACK: &str = "application/msgpack";
/// All names of it.
const PACKED: [&str; 3] = [MESSAGE_PACK, "application/vnd.msgpack", "application/x-msgpack"];

/// A form of arguments and results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyFormat {
    Json,
    MessagePack,
}

/// A call, read from the head of its request.
#[derive(Debug)]
pub(crate) struct PlainCall {
    id: RequestId,
    call: Result<ParsedCall, Problem>,
}

#[derive(Debug)]
struct ParsedCall {
    function: FunctionName,
    caller: Caller,
    /// The policy that judged it; a newer one judges it again when its body has arrived.
    policy: Arc<Policy>,
    credentials: HeaderMap,
    deadline: Deadline,
    /// `None`: no body is expected, and so no arguments.
    form: Option<BodyFormat>,
    result_form: BodyFormat,
    idempotency_key: Option<Bytes>,
    traceparent: Option<Arc<str>>,
    announced: Option<u64>,
}

/// Takes a call of the function `name` from the head of its request.
pub(crate) fn take(
    policy: &Arc<Policy>,
    caller: Caller,
    name: &str,
    headers: &HeaderMap,
    is_known: bool,
) -> PlainCall {
    let id = RequestId::random();
    let call = || {
        let function = FunctionName::new(name)
            .map_err(|error| Problem::of_code(ErrorCode::NotFound, error.to_string()))?;
        auth::authorise(&caller, &function, id)?;
        let deadline = Deadline::after(timeout(headers, policy.server.call_timeout)?);
        let form = form_of(headers)?;
        body::check_encoding(headers)?;
        Ok(ParsedCall {
            function,
            caller,
            policy: Arc::clone(policy),
            credentials: head::credentials(headers, is_known),
            deadline,
            form,
            result_form: result_form(headers, form.unwrap_or(BodyFormat::Json)),
            idempotency_key: idempotency_key(headers)?,
            traceparent: traceparent(headers),
            announced: body::announced(headers),
        })
    };
    PlainCall { id, call: call() }
}

/// Calls a function with what the request carries.
pub(crate) async fn call(service: &Service, call: PlainCall, inbound: &mut Inbound<'_>) -> Response {
    let PlainCall { id, call } = call;
    let served_by = ServedBy::default();
    let answered = match call {
        Ok(call) => answer(service, call, inbound, id, &served_by).await,
        Err(problem) => Err(problem),
    };
    let (response, ran) = match answered {
        Ok(response) => (response, true),
        Err(problem) => {
            problem.count(&service.meters);
            let ran = problem.says_executed();
            (problem.of_call().into_response(), ran)
        }
    };
    let ran_on = ran.then(|| served_by.host().unwrap_or_else(|| service.router.host_id()));
    let mut response = service.named(response, id, ran_on);
    if served_by.is_repeat() {
        response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    }
    response
}

async fn answer(
    service: &Service,
    call: ParsedCall,
    inbound: &mut Inbound<'_>,
    id: RequestId,
    served_by: &ServedBy,
) -> Result<Response, Problem> {
    let ParsedCall { function, mut caller, policy, credentials, deadline, form, result_form, .. } = call;
    let (bytes_max, within) = (policy.server.body_bytes_max, policy.server.body_timeout);
    let client = Some((inbound.in_flight, inbound.from));
    let bounds = body::Bounds { bytes_max, within, memory: &service.body_memory, client };
    let read = body::read(call.announced, inbound.body, bounds, None);
    let (body, permit) =
        tokio::time::timeout_at(deadline.0.into(), read).await.map_err(|_| out_of_time())??;
    // A key that was removed since opens nothing.
    let now = service.policy.load_full();
    if !Arc::ptr_eq(&now, &policy) {
        let path = format!("{FUNCTIONS_PATH}/{function}");
        (caller, _) = auth::admit(&now.access, &path, &credentials, inbound.from.certificate_name())?;
        auth::authorise(&caller, &function, id)?;
    }
    if form.is_none() && !body.is_empty() {
        return Err(unsupported_type());
    }
    let arguments = arguments(form.unwrap_or(BodyFormat::Json), body, now.server.nesting_max)?;
    if arguments.len() > bytes_max {
        return Err(Problem::too_large_packed(bytes_max));
    }
    let invocation = Invocation {
        id,
        function,
        caller,
        deadline,
        hops: Vec::new(),
        traceparent: call.traceparent,
        idempotency_key: call.idempotency_key,
        depth: 0,
        served_by: served_by.clone(),
        guards: Guards::default(),
        host_permit: HostPermit::default(),
        inherited: InheritedPermits::default(),
    };
    inbound.in_flight.uncount();
    let result = service.run(&now, invocation, arguments, permit).await?;
    respond(result_form, result, now.server.answer_bytes_max)
}

fn arguments(form: BodyFormat, body: Bytes, nesting_max: usize) -> Result<Bytes, Problem> {
    let refused = |text: String, limit: Option<Limit>| {
        let problem = Problem::from(Failure::not_executed(ErrorCode::InvalidArgument, text));
        limit.into_iter().fold(problem, Problem::of_limit)
    };
    let arguments = match form {
        BodyFormat::Json => {
            let packed = transcode::arguments_from_json(&body, nesting_max);
            let nested = |error: &JsonError| error.is_too_deep.then_some(Limit::Nesting);
            packed.map_err(|error| refused(error.to_string(), nested(&error)))?.into()
        }
        BodyFormat::MessagePack => body,
    };
    let checked = check_arguments(&arguments, nesting_max);
    checked.map_err(|error| refused(error.to_string(), error.limit().map(Limit::from)))?;
    Ok(arguments)
}

/// The time that the caller gives the call is over: no fault of the body's time, which is another limit.
fn out_of_time() -> Problem {
    let text = "the time ran out while the arguments of the call arrived";
    Failure::not_executed(ErrorCode::DeadlineExceeded, text).into()
}

fn respond(form: BodyFormat, result: Bytes, bytes_max: usize) -> Result<Response, Problem> {
    let unreadable = |error: String| {
        let text = format!("the function's result is not MessagePack: {error}");
        Problem::from(Failure::executed(ErrorCode::Internal, text))
    };
    let (content_type, body) = match form {
        BodyFormat::MessagePack => {
            check_value(&result).map_err(|error| unreadable(error.to_string()))?;
            // A copy: the bytes may be a plugin's, whose generation must not wait for a client that reads slowly.
            (MESSAGE_PACK, Bytes::copy_from_slice(&result))
        }
        BodyFormat::Json => {
            let text = transcode::to_json(&result, bytes_max).map_err(|error| match error {
                NoJson::Malformed(text) => unreadable(text),
                NoJson::Lacking(what) => Failure::without_json(what).into(),
                NoJson::TooLong(_) => Failure::too_long_as_json(bytes_max).into(),
            })?;
            (JSON, text.into())
        }
    };
    Ok(with_body(content_type, body))
}

/// The form of the arguments; a request without a body needs not name one.
fn form_of(headers: &HeaderMap) -> Result<Option<BodyFormat>, Problem> {
    if !headers.contains_key(CONTENT_TYPE) && body::announced(headers).unwrap_or(0) == 0 {
        return Ok(None);
    }
    match body::media_type(headers).as_ref() {
        JSON => Ok(Some(BodyFormat::Json)),
        name if PACKED.contains(&name) => Ok(Some(BodyFormat::MessagePack)),
        _ => Err(unsupported_type()),
    }
}

fn unsupported_type() -> Problem {
    Problem::unsupported_type("application/json or application/msgpack")
}

/// The result comes as the arguments did, unless `Accept` likes the other form better.
fn result_form(headers: &HeaderMap, arguments: BodyFormat) -> BodyFormat {
    let wanted = |name: &str| accept::quality(headers, name.split_once('/').unwrap_or_default(), |_| true);
    match wanted(JSON).cmp(&PACKED.map(wanted).into_iter().max().unwrap_or_default()) {
        Ordering::Greater => BodyFormat::Json,
        Ordering::Less => BodyFormat::MessagePack,
        Ordering::Equal => arguments,
    }
}

/// The time that the caller gives the call, never more than the host's own limit.
fn timeout(headers: &HeaderMap, most: Duration) -> Result<Duration, Problem> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(most) };
    let digits = value.to_str().ok().map(str::trim).filter(|text| {
        text.bytes().all(|byte| byte.is_ascii_digit()) && text.bytes().any(|byte| byte != b'0')
    });
    // More than fits is more than the limit in any case.
    let milliseconds = digits.map(|digits| digits.parse::<u64>().unwrap_or(u64::MAX));
    let text = "the header x-framex-timeout-ms must be a whole number above 0";
    let milliseconds = milliseconds.ok_or_else(|| Problem::of_code(ErrorCode::InvalidArgument, text))?;
    Ok(Duration::from_millis(milliseconds).min(most))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Bytes>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY_HEADER) else { return Ok(None) };
    if value.is_empty() || value.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let text = "the header idempotency-key must have 1 to 64 bytes";
        return Err(Problem::of_code(ErrorCode::InvalidArgument, text));
    }
    Ok(Some(Bytes::copy_from_slice(value.as_bytes())))
}

/// A `traceparent` that cannot be one is ignored, and so are several: a trace begins anew then (W3C Trace Context).
fn traceparent(headers: &HeaderMap) -> Option<Arc<str>> {
    let mut values = headers.get_all("traceparent").iter();
    let first = values.next()?;
    let text = values.all(|value| value == first).then(|| first.to_str().ok())??;
    let fits = (55..=wire::TRACEPARENT_BYTES_MAX).contains(&text.len());
    fits.then(|| text.into())
}
