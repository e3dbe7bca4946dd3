//! The admin socket of the host of a config: finds it, also if the unit of the host sets variables that a shell does not
//! have, and sends one request over it.

use std::io::ErrorKind;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use framex_host::api::{AdminPath, HostView, JSON, ProblemView};
use framex_host::config::{Config, Environment, absolute_file};
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::cli::command_error::CommandError;
use crate::cli::daemon;
use crate::cli::output::view;

/// The admin socket of the host that `config/framex-host.service` runs.
const SERVICE_SOCKET: &str = "/run/framex-host/admin.sock";
/// Longest time for that host to name its config.
const NAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 26;

/// Finds the admin socket of the host of a config: where the config and the variables of this process say, or else where
/// the service has it, if that runs with this very config.
pub(super) fn find(config: &Path) -> Result<PathBuf, CommandError> {
    let said = Config::local_endpoints(config, &Environment::of_process())?.admin_socket;
    let of_service = PathBuf::from(SERVICE_SOCKET);
    let mut refusals = Vec::new();
    match net::UnixStream::connect(&said) {
        Ok(_) => return Ok(said),
        Err(error) => refusals.push((&said, error)),
    }
    if said != of_service {
        match net::UnixStream::connect(&of_service) {
            Ok(_) => return check_config(&of_service, config).map(|()| of_service),
            Err(error) => refusals.push((&of_service, error)),
        }
    }
    let is_private = refusals.iter().any(|(_, error)| error.kind() == ErrorKind::PermissionDenied);
    let tried = refusals.iter().map(|(place, error)| format!("{}: {error}", place.display()));
    let tried = tried.collect::<Vec<_>>().join(", nor on ");
    let advice = if is_private {
        "only root and the user of the host may open its socket"
    } else {
        "is it running, with this config? A unit or shell that starts it with FRAMEX_STATE_DIR or FRAMEX_ADMIN__SOCKET \
         puts its socket elsewhere: set the same here, or write `state_dir` into the config instead"
    };
    Err(CommandError::new(format!("no host answers on {tried}; {advice}")))
}

/// Refuses a host of another config.
fn check_config(socket: &Path, config: &Path) -> Result<(), CommandError> {
    let answer = within(NAME_TIMEOUT, exchange(socket, Method::GET, AdminPath::Host, None))?;
    let HostView { config: found, .. } = view(&answer)?;
    let wanted = absolute_file(config);
    if Path::new(&found) == wanted {
        return Ok(());
    }
    Err(CommandError::new(format!(
        "the host of {} does not answer, and the one on {} runs with {found}: name that with --config, or start this one",
        wanted.display(),
        socket.display()
    )))
}

/// Runs a request to its end, for at most `limit`.
pub(super) fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let answered = daemon::runtime()?.block_on(async { tokio::time::timeout(limit, asked).await });
    answered.map_err(|_| CommandError::new("the host did not answer"))?
}

/// Sends one request to the host behind a socket.
pub(super) async fn exchange(
    socket: &Path,
    method: Method,
    path: AdminPath<'_>,
    body: Option<Bytes>,
) -> Result<Value, CommandError> {
    let (status, json) = ask(socket, method, &path.to_string(), body).await?;
    if status == StatusCode::OK {
        return Ok(json);
    }
    let ProblemView { code, step, detail, .. } = view(&json)?;
    let at_step = step.as_ref().map(|step| format!(" at the step {step}")).unwrap_or_default();
    let message = format!("{code}{at_step}: {detail}");
    // A wrong config has the same exit code whether this process finds it or the host.
    let is_config = step.as_deref() == Some("config");
    let failed = if is_config { CommandError::usage(message) } else { CommandError::new(message) };
    Err(failed.with_json(json))
}

/// Sends one request, and returns the status and the JSON of the response.
pub(super) async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Bytes>,
) -> Result<(StatusCode, Value), CommandError> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, JSON)
        .body(Full::new(body.unwrap_or_default()))
        .map_err(|_| CommandError::usage(format!("`{path}` has characters that a name cannot have")))?;
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        CommandError::new(format!("no host answers on {} any more: {error}", socket.display()))
    })?;
    let broken = |error: hyper::Error| {
        CommandError::new(format!("the host on {} broke off: {error}", socket.display()))
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| CommandError::new(format!("the answer broke off: {error}")))?.to_bytes();
        Ok::<_, CommandError>((head.status, body))
    };
    tokio::pin!(answered);
    let (status, body) = tokio::select! {
        answer = answered.as_mut() => answer?,
        // The connection ends after the answer has come, or before: then the sender says so.
        _ = connection => answered.await?,
    };
    let json: Value = serde_json::from_slice(&body)
        .map_err(|error| CommandError::new(format!("the answer is not JSON: {error}")))?;
    Ok((status, json))
}
