//! `POST /api/v1/functions/{name}`: the functions for everybody else, in JSON or MessagePack.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body_util::Full;
use hyper::body::Incoming;

use super::transcode::JsonError;
use super::{Door, Limit, Limits, Policy, Problem, Response, TIMEOUT_HEADER, auth, body, transcode};
use crate::base::{
    Caller, Deadline, ErrorCode, Failure, FunctionName, Held, HeldPlaces, HostPlace,
    IDEMPOTENCY_KEY_BYTES_MAX, Invocation, RequestId, ServedBy,
};
use crate::wire::{self, check_arguments, check_value};

const JSON: &str = "application/json";
const MESSAGE_PACK: &str = "application/msgpack";

/// A form of arguments and results.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    MessagePack,
}

/// Calls the function `name` with what the request carries.
pub(super) async fn call(
    door: &Door,
    policy: &Policy,
    caller: Caller,
    name: &str,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Response {
    let id = RequestId::random();
    let served_by = ServedBy::default();
    let response = match answer(door, policy, caller, name, headers, body, (id, &served_by)).await {
        Ok(response) => response,
        Err(problem) => {
            problem.count(&door.meters);
            problem.into_response()
        }
    };
    door.named(response, id, served_by.host())
}

async fn answer(
    door: &Door,
    policy: &Policy,
    caller: Caller,
    name: &str,
    headers: &HeaderMap,
    body: &mut Incoming,
    (id, served_by): (RequestId, &ServedBy),
) -> Result<Response, Problem> {
    let function =
        FunctionName::new(name).map_err(|error| Problem::of_code(ErrorCode::NotFound, &error.to_string()))?;
    auth::authorise(&caller, &function, id).map_err(|refused| Problem::of_failure(&refused))?;
    let deadline = Deadline::after(timeout(headers, policy.limits.call_timeout)?);
    let form = form_of(headers)?;
    let result_form = result_form(headers, form);
    let invocation = Invocation {
        id,
        function,
        caller,
        deadline,
        hops: Vec::new(),
        depth: 0,
        traceparent: traceparent(headers),
        idempotency_key: idempotency_key(headers)?,
        served_by: served_by.clone(),
        held: Held::default(),
        place: HostPlace::default(),
        within: HeldPlaces::default(),
    };
    let Limits { body_bytes_max, body_timeout: within, wire, .. } = policy.limits;
    let bounds = body::Bounds { bytes_max: body_bytes_max, within, memory: &door.body_memory };
    let read = tokio::time::timeout_at(deadline.0.into(), body::read(headers, body, bounds)).await;
    let (body, taken) = read.map_err(|_| out_of_time())??;
    let arguments = arguments(form, body, wire.nesting_max)?;
    if arguments.len() > body_bytes_max {
        return Err(too_large_packed(body_bytes_max));
    }
    let outcome = door.run(policy, invocation, arguments, taken).await;
    let result = outcome.map_err(|failure| Problem::of_failure(&failure))?;
    respond(result_form, result)
}

fn arguments(form: Form, body: Bytes, nesting_max: usize) -> Result<Bytes, Problem> {
    let refused = |text: String, limit: Option<Limit>| {
        let problem = Problem::of_failure(&Failure::not_executed(ErrorCode::InvalidArgument, text));
        limit.into_iter().fold(problem, Problem::of_limit)
    };
    let arguments = match form {
        Form::Json => {
            let packed = transcode::arguments_from_json(&body, nesting_max);
            let nested = |error: &JsonError| error.is_too_deep.then_some(Limit::Nesting);
            packed.map_err(|error| refused(error.to_string(), nested(&error)))?.into()
        }
        Form::MessagePack => body,
    };
    let checked = check_arguments(&arguments, nesting_max);
    checked.map_err(|error| refused(error.to_string(), error.limit().map(Limit::from)))?;
    Ok(arguments)
}

/// The time that the caller gives the call is over: no fault of the body's time, which is another limit.
fn out_of_time() -> Problem {
    let text = "the time ran out while the arguments of the call arrived";
    Problem::of_failure(&Failure::not_executed(ErrorCode::DeadlineExceeded, text))
}

/// A peer takes no more than its own limit either, and would say less of it.
fn too_large_packed(bytes_max: usize) -> Problem {
    let detail = format!(
        "the arguments have more than {bytes_max} bytes as MessagePack, the form in which functions take them \
         ([server] body_bytes_max)"
    );
    Problem::too_large(bytes_max).with("detail", detail.into()).with("executed", false.into())
}

fn respond(form: Form, result: Bytes) -> Result<Response, Problem> {
    let unreadable = |error: String| {
        let text = format!("the function's result is not MessagePack: {error}");
        Problem::of_failure(&Failure::executed(ErrorCode::Internal, text))
    };
    let (content_type, body) = match form {
        Form::MessagePack => {
            check_value(&result).map_err(|error| unreadable(error.to_string()))?;
            // A copy: the bytes may be a plugin's, whose generation must not wait for a client that reads slowly.
            (MESSAGE_PACK, Bytes::copy_from_slice(&result))
        }
        Form::Json => (JSON, transcode::to_json(&result).map_err(unreadable)?.into()),
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

fn form_of(headers: &HeaderMap) -> Result<Form, Problem> {
    match body::media_type(headers).as_ref() {
        JSON => Ok(Form::Json),
        MESSAGE_PACK | "application/vnd.msgpack" | "application/x-msgpack" => Ok(Form::MessagePack),
        _ => Err(Problem::unsupported_type("application/json or application/msgpack")),
    }
}

/// The result comes as the arguments did, unless `Accept` names the other form.
fn result_form(headers: &HeaderMap, arguments: Form) -> Form {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match (accept.contains("json"), accept.contains("msgpack")) {
        (true, false) => Form::Json,
        (false, true) => Form::MessagePack,
        _ => arguments,
    }
}

/// The time that the caller gives the call, never more than the host's own limit.
fn timeout(headers: &HeaderMap, most: Duration) -> Result<Duration, Problem> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(most) };
    let milliseconds =
        value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()).filter(|number| *number > 0);
    let milliseconds = milliseconds.ok_or_else(|| {
        Problem::of_code(
            ErrorCode::InvalidArgument,
            "the header x-framex-timeout-ms must be a whole number above 0",
        )
    })?;
    Ok(Duration::from_millis(milliseconds).min(most))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Bytes>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    if value.is_empty() || value.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let text = "the header idempotency-key must have 1 to 64 bytes";
        return Err(Problem::of_code(ErrorCode::InvalidArgument, text));
    }
    Ok(Some(Bytes::copy_from_slice(value.as_bytes())))
}

/// A `traceparent` that cannot be one is ignored, as W3C Trace Context says.
fn traceparent(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let fits = (55..=wire::TRACEPARENT_BYTES_MAX).contains(&text.len());
    fits.then(|| text.into())
}
