//! Requests over the admin socket, and what shows while a change is under way.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use framex_host::base::one_line;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::place;
use crate::cli::output::Output;
use crate::cli::{Failed, daemon};

/// Longest answer in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 26;
/// How long a change may take: start and drain have deadlines of their own, which operators may set high.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// How long a host may take to say whether it is ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often somebody who waits is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Asks for something and answers it.
pub(super) fn request(
    config: &Path,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Failed> {
    let socket = place::find(config)?;
    let asked = exchange(&socket, method, path, body);
    daemon::runtime()?.block_on(async { tokio::time::timeout(TIMEOUT, asked).await }).map_err(no_answer)?
}

/// Asks whether the host is ready, and answers what it says of that, whatever it is.
pub(super) fn ready(config: &Path) -> Result<Value, Failed> {
    let socket = place::find(config)?;
    let asked = ask(&socket, Method::GET, "/ready", None);
    let answered = daemon::runtime()?.block_on(async { tokio::time::timeout(PROBE_TIMEOUT, asked).await });
    let (_, answer) = answered.map_err(no_answer)??;
    Ok(answer)
}

/// Asks for a change and answers what came of it; on a terminal, the step that it is at shows meanwhile.
pub(super) fn change(config: &Path, path: &str, body: &Value, output: Output) -> Result<Value, Failed> {
    let socket = place::find(config)?;
    let asked = exchange(&socket, Method::POST, path, Some(body));
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
        if let Ok(answer) = exchange(socket, Method::GET, "plugins", None).await {
            let plugins = answer["plugins"].as_array().into_iter().flatten();
            let lines: Vec<String> = plugins.filter_map(progress_text).collect();
            status_line(&lines.join("; "));
        }
    }
}

/// How far the change of a plugin is, if one is under way.
fn progress_text(plugin: &Value) -> Option<String> {
    let change = plugin["change"].as_object()?;
    let done = change.get("done")?.as_array()?.iter().filter_map(|step| step["step"].as_str());
    let done: Vec<&str> = done.collect();
    let seconds = change.get("ms")?.as_f64()? / 1000.0;
    let step = change.get("step")?.as_str()?;
    Some(format!("{}: {} > {step} for {seconds:.1} s", plugin["name"].as_str()?, done.join(" > ")))
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
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Failed> {
    let (status, json) = ask(socket, method, &format!("/admin/v1/{path}"), body).await?;
    if status == StatusCode::OK {
        return Ok(json);
    }
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let step = json["step"].as_str().map(|step| format!(" at the step {step}")).unwrap_or_default();
    let message = format!("{}{step}: {}", text("code"), text("detail"));
    // A bad config is one whoever finds it: this process, or the host.
    let failed = if json["step"] == "config" { Failed::usage(message) } else { Failed::new(message) };
    Err(failed.with_json(json))
}

async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Value), Failed> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()))
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
