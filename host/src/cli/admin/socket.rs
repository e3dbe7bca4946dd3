//! Requests over the admin socket, and what shows while a change is under way.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use framex_host::api::{AdminPath, JSON, PluginView, PluginsView, ProblemView, ProgressView, READY_PATH};
use framex_host::base::one_line;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tokio::net::UnixStream;

use super::place;
use crate::cli::output::{Output, view};
use crate::cli::{Failed, daemon};

/// Longest answer in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 26;
/// How long a change may take: start and drain have deadlines of their own, which operators may set high.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// How long a host may take to say whether it is ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often somebody who waits is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Returns what the host says of a resource.
pub(super) fn get(config: &Path, path: AdminPath<'_>) -> Result<Value, Failed> {
    let socket = place::find(config)?;
    let asked = exchange(&socket, Method::GET, path, None);
    daemon::runtime()?.block_on(async { tokio::time::timeout(TIMEOUT, asked).await }).map_err(no_answer)?
}

/// Returns what the host says of its readiness, whether it is ready or not.
pub(super) fn ready(config: &Path) -> Result<Value, Failed> {
    let socket = place::find(config)?;
    let asked = ask(&socket, Method::GET, READY_PATH, None);
    let answered = daemon::runtime()?.block_on(async { tokio::time::timeout(PROBE_TIMEOUT, asked).await });
    let (_, answer) = answered.map_err(no_answer)??;
    Ok(answer)
}

/// Makes a change and returns its result; on a terminal, the current step shows meanwhile.
pub(super) fn change(
    config: &Path,
    path: AdminPath<'_>,
    options: &impl Serialize,
    output: Output,
) -> Result<Value, Failed> {
    let socket = place::find(config)?;
    let options = serde_json::to_vec(options).map_err(|error| Failed::new(error.to_string()))?;
    let asked = exchange(&socket, Method::POST, path, Some(options.into()));
    let shows = output.is_text() && std::io::stderr().is_terminal();
    daemon::runtime()?.block_on(async {
        tokio::select! {
            answered = tokio::time::timeout(TIMEOUT, asked) => {
                if shows {
                    status_line("");
                }
                answered.map_err(no_answer)?
            }
            never = show_progress(&socket), if shows => never,
        }
    })
}

/// Shows, for as long as it is polled, how far the changes of plugins are.
async fn show_progress<T>(socket: &Path) -> T {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        if let Ok(answer) = exchange(socket, Method::GET, AdminPath::Plugins, None).await
            && let Ok(PluginsView { plugins, .. }) = view(&answer)
        {
            let lines: Vec<String> = plugins.iter().filter_map(progress_text).collect();
            status_line(&lines.join("; "));
        }
    }
}

/// Returns the progress of the change of a plugin, if one is under way.
fn progress_text(PluginView { name, change, .. }: &PluginView) -> Option<String> {
    let ProgressView { step, ms, done, .. } = change.as_ref()?;
    let done: Vec<&str> = done.iter().map(|step| step.step.as_str()).collect();
    Some(format!("{name}: {} > {step} for {:.1} s", done.join(" > "), ms / 1000.0))
}

/// Replaces the last line of the terminal.
fn status_line(text: &str) {
    let mut terminal = std::io::stderr().lock();
    let _closed = write!(terminal, "\r\x1b[K{}", one_line(text));
    let _closed = terminal.flush();
}

fn no_answer(_: tokio::time::error::Elapsed) -> Failed {
    Failed::new("the host did not answer")
}

/// Sends one request to the host behind a socket.
pub(super) async fn exchange(
    socket: &Path,
    method: Method,
    path: AdminPath<'_>,
    body: Option<Bytes>,
) -> Result<Value, Failed> {
    let (status, json) = ask(socket, method, &path.to_string(), body).await?;
    if status == StatusCode::OK {
        return Ok(json);
    }
    let ProblemView { code, step, detail, .. } = view(&json)?;
    let at_step = step.as_ref().map(|step| format!(" at the step {step}")).unwrap_or_default();
    let message = format!("{code}{at_step}: {detail}");
    // A wrong config has the same exit code whether this process finds it or the host.
    let is_config = step.as_deref() == Some("config");
    let failed = if is_config { Failed::usage(message) } else { Failed::new(message) };
    Err(failed.with_json(json))
}

async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Bytes>,
) -> Result<(StatusCode, Value), Failed> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, JSON)
        .body(Full::new(body.unwrap_or_default()))
        .map_err(|_| Failed::usage(format!("`{path}` has characters that a name cannot have")))?;
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| Failed::new(format!("no host answers on {} any more: {error}", socket.display())))?;
    let broken =
        |error: hyper::Error| Failed::new(format!("the host on {} broke off: {error}", socket.display()));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Failed::new(format!("the answer broke off: {error}")))?.to_bytes();
        Ok((head.status, body))
    };
    tokio::pin!(answered);
    let (status, body) = tokio::select! {
        answer = answered.as_mut() => answer?,
        // The connection ends after the answer has come, or before: then the sender says so.
        _ = connection => answered.await?,
    };
    let json: Value = serde_json::from_slice(&body)
        .map_err(|error| Failed::new(format!("the answer is no JSON: {error}")))?;
    Ok((status, json))
}
