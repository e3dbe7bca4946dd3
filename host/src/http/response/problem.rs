//! Errors as HTTP answers: `application/problem+json` (RFC 9457) with the stable code.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use super::{Response, transcode};
use crate::api::{FailedPlugin, PROBLEM_JSON, ProblemView};
use crate::base::{ErrorCode, Executed, Failure};
use crate::http::limits::{Limit, Meters, OutOfMemory};
use crate::wire;

/// Longest JSON of an error's details, in bytes. They were bounded as a result is; this is for what JSON makes of them.
const DETAILS_BYTES_MAX: usize = 64 << 20;

/// An error response to a request, before or in a call.
#[derive(Debug)]
pub struct Problem {
    code: ErrorCode,
    limit: Option<Limit>,
    status: StatusCode,
    detail: String,
    /// Of a call: whether the body of its function ran.
    executed: Option<Executed>,
    /// The function's own code.
    app_code: Option<Box<str>>,
    /// The function's own details as JSON text: they may be long, and are not taken apart.
    details: Option<Vec<u8>>,
    reload: Option<Box<FailedReload>>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// A change of plugins that failed, and so changed nothing.
#[derive(Debug)]
struct FailedReload {
    step: &'static str,
    /// Of a reload of the whole host: the plugins that made it fail.
    plugins: Option<Vec<FailedPlugin>>,
}

impl Problem {
    fn new(status: StatusCode, code: ErrorCode, detail: &str) -> Self {
        Self {
            code,
            limit: None,
            status,
            detail: detail.to_owned(),
            executed: None,
            app_code: None,
            details: None,
            reload: None,
            header: None,
        }
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
    pub(crate) fn of_code(code: ErrorCode, detail: &str) -> Self {
        Self::new(status_of(code), code, detail)
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

    fn needs_key(detail: &str) -> Self {
        let mut problem = Self::of_code(ErrorCode::Unauthenticated, detail);
        problem.header = Some(Box::new((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))));
        problem
    }

    /// A head of more lines than are taken.
    pub(crate) fn too_many_lines(most: usize) -> Self {
        let detail =
            format!("the request has more than {most} header lines, which is the most that this host takes");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ErrorCode::InvalidArgument, &detail)
    }

    /// A request that does not say whom it is for.
    pub(crate) fn bad_host() -> Self {
        let detail = "the request needs exactly one header Host, with a host and perhaps a port (RFC 9112, section 3.2)";
        Self::of_code(ErrorCode::InvalidArgument, detail)
    }

    /// The connection's client certificate has expired, or its authority is no longer trusted.
    pub(crate) fn certificate_lost() -> Self {
        let text =
            "the client certificate of this connection is no longer valid: connect again with one that is";
        let mut problem = Self::of_code(ErrorCode::Unauthenticated, text);
        problem.header = Self::unauthenticated().header;
        problem
    }

    /// No such path.
    pub(crate) fn no_such_path() -> Self {
        Self::of_code(
            ErrorCode::NotFound,
            "there is no such path; GET /api/v1/openapi.json describes what there is",
        )
    }

    /// The path exists, with another method.
    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        let mut problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorCode::InvalidArgument,
            &format!("this path takes {allowed}"),
        );
        problem.header = Some(Box::new((ALLOW, HeaderValue::from_static(allowed))));
        problem
    }

    /// The body is of a type that the path does not take.
    pub(crate) fn unsupported_type(taken: &str) -> Self {
        let detail = format!("the body's content-type must be {taken}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::InvalidArgument, &detail)
    }

    /// The body comes in a content coding.
    pub(crate) fn unsupported_encoding() -> Self {
        let detail = "the body must come without a content-encoding, or with `identity`";
        let mut problem = Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::InvalidArgument, detail);
        problem.header = Some(Box::new((ACCEPT_ENCODING, HeaderValue::from_static("identity"))));
        problem
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
        Self::of_code(ErrorCode::InvalidArgument, &detail)
    }

    /// The body is too long.
    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let detail = format!("the body has more than {bytes_max} bytes ([server] body_bytes_max)");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::InvalidArgument, &detail)
            .of_limit(Limit::BodySize)
    }

    /// The body did not arrive.
    pub(crate) fn body_incomplete() -> Self {
        let detail = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::Cancelled, detail).of_limit(Limit::BodyTime)
    }

    /// Functions hold all workers, and all connections but the reserve for probes are taken.
    pub(crate) fn too_many_connections() -> Self {
        Self::overloaded(
            "functions hold all workers, and no more connections may wait ([server] connections_max)",
        )
    }

    fn overloaded(detail: &str) -> Self {
        let header = Some(Box::new((RETRY_AFTER, HeaderValue::from_static("1"))));
        Self { header, ..Self::of_code(ErrorCode::Overloaded, detail) }
    }

    /// A frame of another version of the wire.
    pub(crate) fn incompatible_wire() -> Self {
        let mut problem = Self::of_code(
            ErrorCode::Incompatible,
            "the frame is of another version of the wire; this host speaks version 1",
        );
        let version = HeaderName::from_static(wire::VERSION_HEADER);
        problem.header = Some(Box::new((version, HeaderValue::from_static("1"))));
        problem
    }

    /// A change of plugins that failed; nothing has changed.
    pub(crate) fn reload_failed(
        step: &'static str,
        detail: &str,
        plugins: Option<Vec<FailedPlugin>>,
    ) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::Failed, detail);
        Self { reload: Some(Box::new(FailedReload { step, plugins })), ..problem }
    }

    /// The same in other words.
    pub(crate) fn saying(self, detail: String) -> Self {
        Self { detail, ..self }
    }

    /// A call that has no result.
    pub(crate) fn of_failure(failure: &Failure) -> Self {
        let mut problem = Self::of_code(failure.code, &failure.message);
        problem.executed = Some(failure.executed);
        problem.app_code = failure.app_code.as_deref().map(Box::from);
        if let Some(details) = &failure.details {
            // Details that are not MessagePack, or too long, are a plugin's fault that its own error must not suffer from.
            let text = transcode::to_json(details, DETAILS_BYTES_MAX);
            let instead = |error: transcode::NoJson| {
                Value::from(format!("the details have no JSON: {error}")).to_string().into_bytes()
            };
            problem.details = Some(text.unwrap_or_else(instead));
        }
        if failure.code == ErrorCode::Overloaded {
            problem.header = Some(Box::new((RETRY_AFTER, HeaderValue::from_static("1"))));
        }
        problem
    }

    /// One of a call, which did not run unless it says something else.
    pub(crate) fn of_call(mut self) -> Self {
        self.executed.get_or_insert(Executed::No);
        self
    }

    /// Returns true if it says of a call that the body of its function ran.
    pub(crate) fn says_executed(&self) -> bool {
        self.executed == Some(Executed::Yes)
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(Full::new(Bytes::from(self.body())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some((name, value)) = self.header.map(|header| *header) {
            headers.insert(name, value);
        }
        response
    }
}

impl Problem {
    /// Returns its JSON. The details are appended as they are: they may be long.
    fn body(&self) -> Vec<u8> {
        let code = if self.reload.is_some() { "reload_failed" } else { self.code.as_str() };
        let view = ProblemView {
            kind: format!("urn:framex:error:{code}").into(),
            title: self.status.canonical_reason().unwrap_or_default().into(),
            status: self.status.as_u16(),
            detail: self.detail.as_str().into(),
            code: code.into(),
            app_code: self.app_code.as_deref().map(Into::into),
            executed: self.executed.map(Executed::known),
            failed_plugins: self.reload.as_ref().and_then(|reload| reload.plugins.as_deref()).map(Into::into),
            step: self.reload.as_ref().map(|reload| reload.step.into()),
        };
        let mut body = serde_json::to_vec(&view).unwrap_or_default();
        if let Some(details) = &self.details {
            body.pop();
            body.extend_from_slice(b",\"details\":");
            body.extend_from_slice(details);
            body.push(b'}');
        }
        body
    }
}

impl From<OutOfMemory> for Problem {
    fn from(OutOfMemory: OutOfMemory) -> Self {
        let detail = "the bodies of requests take as much memory as they may ([server] body_memory_max)";
        Self::overloaded(detail).of_limit(Limit::BodyMemory)
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
