//! Errors as HTTP answers: `application/problem+json` (RFC 9457) with the stable code.

use std::borrow::Cow;

use http::header::{ACCEPT_ENCODING, ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::{Response, with_body};
use crate::api::{FailedPlugin, PROBLEM_JSON, ProblemView};
use crate::base::{ErrorCode, Failure};
use crate::http::limits::{Limit, Meters, OutOfMemory};
use crate::http::transcode;
use crate::wire;

/// Longest JSON of an error's details, in bytes. They were bounded as a result is; this is for what JSON makes of them.
const DETAILS_BYTES_MAX: usize = 64 << 20;

/// An error response to a request, before or in a call.
#[derive(Debug)]
pub struct Problem {
    code: ErrorCode,
    limit: Option<Limit>,
    status: StatusCode,
    view: Box<ProblemView<'static>>,
    /// The function's own details as JSON text: they may be long, and are not taken apart.
    details: Option<Vec<u8>>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Problem {
    fn new(status: StatusCode, code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let view = ProblemView {
            title: status.canonical_reason().unwrap_or_default().into(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.as_str().into(),
            ..ProblemView::default()
        };
        Self { code, limit: None, status, view: Box::new(view), details: None, header: None }
    }

    fn with_header(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some(Box::new((name, HeaderValue::from_static(value)))), ..self }
    }

    /// Counts it.
    pub(crate) fn count(&self, meters: &Meters) {
        meters.refuse(self.code, self.limit);
    }

    /// One that a limit causes.
    pub(crate) fn of_limit(self, limit: Limit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// A problem with the status of its code.
    pub(crate) fn of_code(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let problem = Self::new(status_of(code), code, detail);
        if code == ErrorCode::Overloaded { problem.with_header(RETRY_AFTER, "1") } else { problem }
    }

    /// The one answer for every fault of authentication of what is sealed, or meant for operators.
    pub(crate) fn unauthenticated() -> Self {
        Self::needs_key("this path needs a valid key")
    }

    /// A plain request without a key, or with one that is of no use for the path. It does not say whether that key opens
    /// another path.
    pub(crate) fn without_key(was_sent: bool) -> Self {
        Self::needs_key(if was_sent {
            "the key that was sent does not open this path"
        } else {
            "no key was sent: this path needs one, as in `Authorization: Bearer KEY`"
        })
    }

    /// The connection's client certificate has expired, or the config has dropped its authority.
    pub(crate) fn certificate_lost() -> Self {
        Self::needs_key(
            "the client certificate of this connection is no longer valid: connect again with a valid one",
        )
    }

    fn needs_key(detail: &'static str) -> Self {
        Self::of_code(ErrorCode::Unauthenticated, detail).with_header(WWW_AUTHENTICATE, "Bearer")
    }

    /// A head of more lines than are taken.
    pub(crate) fn too_many_lines(most: usize) -> Self {
        let detail =
            format!("the request has more than {most} header lines, which is the most that this host takes");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ErrorCode::InvalidArgument, detail)
    }

    /// A request that does not say whom it is for.
    pub(crate) fn bad_host() -> Self {
        let detail = "the request needs exactly one header Host, with a host and perhaps a port (RFC 9112, section 3.2)";
        Self::of_code(ErrorCode::InvalidArgument, detail)
    }

    /// No such path.
    pub(crate) fn no_such_path() -> Self {
        let detail = "this path does not exist; GET /api/v1/openapi.json lists the paths";
        Self::of_code(ErrorCode::NotFound, detail)
    }

    /// The path exists, with another method.
    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("this path takes {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::InvalidArgument, detail)
            .with_header(ALLOW, allowed)
    }

    /// The body is of a type that the path does not take.
    pub(crate) fn unsupported_type(taken: &str) -> Self {
        let detail = format!("the body's content-type must be {taken}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::InvalidArgument, detail)
    }

    /// The body comes in a content coding.
    pub(crate) fn unsupported_encoding() -> Self {
        let detail = "the body must come without a content-encoding, or with `identity`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::InvalidArgument, detail)
            .with_header(ACCEPT_ENCODING, "identity")
    }

    /// The message comes in a transfer coding besides chunks.
    pub(crate) fn unsupported_transfer() -> Self {
        let detail = "the request has a transfer-encoding other than `chunked`";
        Self::new(StatusCode::NOT_IMPLEMENTED, ErrorCode::InvalidArgument, detail)
    }

    /// A header that may come once, and came several times with different values.
    pub(crate) fn several_values(name: &HeaderName) -> Self {
        let detail =
            format!("the request has the header `{name}` several times, with different values: send one");
        Self::of_code(ErrorCode::InvalidArgument, detail)
    }

    /// The body is too long.
    pub(crate) fn too_large(bytes_max: usize) -> Self {
        Self::of_size(format!("the body has more than {bytes_max} bytes ([server] body_bytes_max)"))
    }

    /// The body fits, and what functions take does not. A peer takes no more than its own limit either, and would say
    /// less of it.
    pub(crate) fn too_large_packed(bytes_max: usize) -> Self {
        Self::of_size(format!(
            "the arguments have more than {bytes_max} bytes as MessagePack, the form in which functions take them \
             ([server] body_bytes_max)"
        ))
    }

    fn of_size(detail: String) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::InvalidArgument, detail).of_limit(Limit::BodySize)
    }

    /// The body did not arrive.
    pub(crate) fn body_incomplete() -> Self {
        let detail = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::Cancelled, detail).of_limit(Limit::BodyTime)
    }

    /// Functions hold all workers, and all connections but the reserve for probes are taken.
    pub(crate) fn too_many_connections() -> Self {
        let detail =
            "functions hold all workers, and no more connections may wait ([server] connections_max)";
        Self::of_code(ErrorCode::Overloaded, detail)
    }

    /// A frame of another version of the wire.
    pub(crate) fn incompatible_wire() -> Self {
        let detail = "the frame is of another version of the wire; this host speaks version 1";
        Self::of_code(ErrorCode::Incompatible, detail)
            .with_header(HeaderName::from_static(wire::VERSION_HEADER), "1")
    }

    /// A change of plugins that failed; nothing has changed. A reload of the whole host has the plugins that made it fail.
    pub(crate) fn reload_failed(
        step: &'static str,
        detail: String,
        plugins: Option<Vec<FailedPlugin>>,
    ) -> Self {
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::Failed, detail);
        problem.view.code = "reload_failed".into();
        problem.view.step = Some(step.into());
        problem.view.failed_plugins = plugins.map(Cow::Owned);
        problem
    }

    /// One of a call, which did not run unless it says something else.
    pub(crate) fn of_call(mut self) -> Self {
        self.view.executed.get_or_insert(Some(false));
        self
    }

    /// Returns true if it says of a call that the body of its function ran.
    pub(crate) fn says_executed(&self) -> bool {
        self.view.executed == Some(Some(true))
    }

    pub(crate) fn into_response(self) -> Response {
        let Self { status, mut view, details, header, .. } = self;
        view.kind = format!("urn:framex:error:{}", view.code).into();
        let mut body = serde_json::to_vec(&view).unwrap_or_default();
        if let Some(details) = details {
            // Appended as they are: they may be long.
            body.pop();
            body.extend_from_slice(b",\"details\":");
            body.extend_from_slice(&details);
            body.push(b'}');
        }
        let mut response = with_body(PROBLEM_JSON, body);
        *response.status_mut() = status;
        response.headers_mut().extend(header.map(|header| *header));
        response
    }
}

impl From<Failure> for Problem {
    /// The problem of a call that has no result.
    fn from(failure: Failure) -> Self {
        let mut problem = Self::of_code(failure.code, failure.message);
        problem.view.executed = Some(failure.executed.known());
        problem.view.app_code = failure.app_code.map(Cow::Owned);
        if let Some(details) = &failure.details {
            // Details that are not MessagePack, or too long, are a plugin's fault that its own error must not suffer from.
            let text = transcode::to_json(details, DETAILS_BYTES_MAX);
            let instead = |error: transcode::NoJson| {
                Value::from(format!("the details have no JSON: {error}")).to_string().into_bytes()
            };
            problem.details = Some(text.unwrap_or_else(instead));
        }
        problem
    }
}

impl From<Box<Failure>> for Problem {
    fn from(failure: Box<Failure>) -> Self {
        Self::from(*failure)
    }
}

impl From<OutOfMemory> for Problem {
    fn from(OutOfMemory: OutOfMemory) -> Self {
        let detail = "the bodies of requests take as much memory as they may ([server] body_memory_max)";
        Self::of_code(ErrorCode::Overloaded, detail).of_limit(Limit::BodyMemory)
    }
}

/// Returns the HTTP status of a code.
fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidArgument | ErrorCode::Incompatible => StatusCode::BAD_REQUEST,
        ErrorCode::Misdirected => StatusCode::MISDIRECTED_REQUEST,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Replayed => StatusCode::CONFLICT,
        ErrorCode::Failed => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Panic | ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        // A client that has left gets no response: the client that reads this had its call cut off by the host.
        ErrorCode::Unavailable | ErrorCode::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::LoopDetected => StatusCode::LOOP_DETECTED,
    }
}
