//! `framex-host plugins`, `peers`, `explain`: talking to this machine's host over its admin socket.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use framex_host::config::Config;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::arguments::PluginsCommand;
use super::output::{Output, table};
use super::{Failed, daemon};

/// Longest answer in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 26;
/// How long a change may take: start and drain have deadlines of their own, which operators may set high.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn plugins(config: &Path, command: &PluginsCommand, output: Output) -> Result<(), Failed> {
    let change = |path: String, body: Value| {
        let answer = request(config, Method::POST, &path, Some(&body))?;
        output.show(&answer, || change_text(&answer));
        Ok(())
    };
    match command {
        PluginsCommand::List => {
            let answer = request(config, Method::GET, "plugins", None)?;
            output.show(&answer, || list_text(&answer));
            Ok(())
        }
        PluginsCommand::Show { plugin } => {
            let answer = request(config, Method::GET, &format!("plugins/{plugin}"), None)?;
            output.show(&answer, || serde_json::to_string_pretty(&answer).unwrap_or_default());
            Ok(())
        }
        PluginsCommand::Load { file } => change("plugins".to_owned(), json!({ "file": file })),
        PluginsCommand::Reload { plugin, allow_breaking } => {
            change(format!("plugins/{plugin}/reload"), json!({ "allow_breaking": allow_breaking }))
        }
        PluginsCommand::Rollback { plugin, generation } => {
            change(format!("plugins/{plugin}/rollback"), json!({ "generation": generation }))
        }
        PluginsCommand::Unload { plugin } => change(format!("plugins/{plugin}/unload"), json!({})),
    }
}

pub(crate) fn peers(config: &Path, output: Output) -> Result<(), Failed> {
    let answer = request(config, Method::GET, "peers", None)?;
    output.show(&answer, || {
        let heads = ["PEER", "KEY", "ITSELF", "CLOCK OFFSET MS"].map(str::to_owned).to_vec();
        let rows = answer["peers"].as_array().into_iter().flatten().map(|peer| {
            let yes_no = |key: &str| if peer[key] == true { "yes" } else { "no" }.to_owned();
            let url = peer["url"].as_str().unwrap_or_default().to_owned();
            vec![url, yes_no("has_key"), yes_no("itself"), peer["clock_offset_ms"].to_string()]
        });
        table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>())
    });
    Ok(())
}

pub(crate) fn explain(config: &Path, function: &str, output: Output) -> Result<(), Failed> {
    let answer = request(config, Method::GET, &format!("explain/{function}"), None)?;
    output.show(&answer, || {
        let place = match (answer["runs"].as_str(), answer["peer"].as_str()) {
            (Some("peer"), Some(peer)) => format!("on {peer}"),
            (Some("local"), _) => "here".to_owned(),
            _ => "nowhere".to_owned(),
        };
        let because = answer["because"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let lines: Vec<String> = because.map(|line| format!("  {line}")).collect();
        format!("`{function}` runs {place}:\n{}", lines.join("\n"))
    });
    Ok(())
}

fn list_text(answer: &Value) -> String {
    let heads =
        ["PLUGIN", "VERSION", "STATE", "GENERATION", "IN FLIGHT", "FUNCTIONS", "STILL MAPPED", "FILE"];
    let rows = answer["plugins"].as_array().into_iter().flatten().map(|plugin| {
        let text = |key: &str| plugin[key].as_str().unwrap_or_default().to_owned();
        let count = |key: &str| plugin[key].as_array().map_or(0, Vec::len).to_string();
        let (generation, in_flight) = (plugin["generation"].to_string(), plugin["in_flight"].to_string());
        vec![
            text("name"),
            text("version"),
            text("state"),
            generation,
            in_flight,
            count("functions"),
            count("zombies"),
            text("file"),
        ]
    });
    table(&std::iter::once(heads.map(str::to_owned).to_vec()).chain(rows).collect::<Vec<_>>())
}

fn change_text(answer: &Value) -> String {
    let steps = answer["steps"].as_array().into_iter().flatten();
    let lines: Vec<String> = steps
        .map(|step| {
            format!(
                "  {:<8} {:>10.3} ms",
                step["step"].as_str().unwrap_or_default(),
                step["ms"].as_f64().unwrap_or(0.0)
            )
        })
        .collect();
    let plugin = answer["plugin"].as_str().unwrap_or_default();
    let head = match (answer["generation"].as_u64(), answer["previous"].as_u64()) {
        (Some(generation), Some(previous)) => {
            format!("{plugin}: generation {generation} serves in the place of {previous}")
        }
        (Some(generation), None) => format!("{plugin}: generation {generation} serves"),
        (None, _) => format!("{plugin}: withdrawn"),
    };
    let cancelled = match answer["cancelled_calls"].as_u64() {
        Some(calls) if calls > 0 => format!("\n  {calls} calls were dropped at the drain deadline"),
        _ => String::new(),
    };
    format!("{head}\n{}{cancelled}", lines.join("\n"))
}

fn request(config: &Path, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failed> {
    let socket = Config::whereabouts(config).map_err(|error| Failed::usage(error.to_string()))?.admin_socket;
    let request = Request::builder()
        .method(method)
        .uri(format!("/admin/v1/{path}"))
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()))
        .map_err(|_| Failed::usage(format!("`{path}` has characters that a name cannot have")))?;
    let exchange = async {
        let stream = UnixStream::connect(&socket).await.map_err(|error| {
            Failed::new(format!(
                "no host answers on {}: {error}; is it running, with this config?",
                socket.display()
            ))
        })?;
        let broken =
            |error: hyper::Error| Failed::new(format!("the host on {} broke off: {error}", socket.display()));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body =
                body.map_err(|error| Failed::new(format!("the answer broke off: {error}")))?.to_bytes();
            Ok((head.status, body))
        };
        tokio::pin!(answered);
        tokio::select! {
            answer = answered.as_mut() => answer,
            // The connection ends after the answer has come, or before: then the sender says so.
            _ = connection => answered.await,
        }
    };
    let answered = daemon::runtime()?.block_on(async { tokio::time::timeout(TIMEOUT, exchange).await });
    let (status, body) = answered.map_err(|_| Failed::new("the host did not answer"))??;
    let json: Value = serde_json::from_slice(&body)
        .map_err(|error| Failed::new(format!("the answer is no JSON: {error}")))?;
    if status == StatusCode::OK {
        return Ok(json);
    }
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let step = json["step"].as_str().map(|step| format!(" at the step {step}")).unwrap_or_default();
    Err(Failed::new(format!("{}{step}: {}", text("code"), text("detail"))).with_json(json))
}
