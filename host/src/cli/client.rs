//! `framex-host call` and `functions`: talking to a running host by URL.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use framex_host::api::{
    CatalogueView, FUNCTIONS_PATH, JSON, OfferView, ProblemView, REQUEST_ID_HEADER, SERVED_BY_HEADER,
    TIMEOUT_HEADER,
};
use framex_host::base::printable_json;
use framex_host::config::{Config, Environment, Overrides, PeerUrl, Secret};
use framex_host::peers::Connector;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::arguments::{CallArguments, HostFlags};
use super::command_error::CommandError;
use super::daemon;
use super::output::{Output, table, view};

/// Longest answer in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Longest wait of a command, unless the call has a deadline of its own.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Time after the deadline of a call in which the host's answer may come.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn call(config: &Path, call: &CallArguments, output: Output) -> Result<(), CommandError> {
    let arguments = arguments(&call.json)?;
    let path = format!("{FUNCTIONS_PATH}/{}", call.function);
    let deadline = call.timeout_ms.map(Duration::from_millis);
    let (headers, result) = request(config, &call.target, Method::POST, &path, Some(arguments), deadline)?;
    let served_by = headers.get(SERVED_BY_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    output.show(&json!({ "result": result, "served_by": served_by }), || match &result {
        // A text may have lines of its own.
        Value::String(text) => text.clone(),
        other => printable_json(&serde_json::to_string_pretty(other).unwrap_or_default()).into_owned(),
    })
}

pub(crate) fn functions(config: &Path, target: &HostFlags, output: Output) -> Result<(), CommandError> {
    let (_, catalogue) = request(config, target, Method::GET, FUNCTIONS_PATH, None, None)?;
    output.show_view(&catalogue, |CatalogueView { functions, .. }| {
        let rows = functions.into_iter().map(|OfferView { name, plugin, runs, description, .. }| {
            let description = description.lines().next().unwrap_or_default().to_owned();
            vec![name, plugin.unwrap_or_else(|| "-".to_owned()), runs, description]
        });
        table(&["FUNCTION", "PLUGIN", "RUNS", "DESCRIPTION"], rows)
    })
}

/// Returns the arguments: written out, from a file, or from the standard input.
fn arguments(said: &str) -> Result<Bytes, CommandError> {
    let (json, source) = match said.strip_prefix('@') {
        Some(file) => (std::fs::File::open(file).and_then(read), file),
        None if said == "-" => (read(std::io::stdin().lock()), "standard input"),
        None => (Ok(said.as_bytes().to_vec()), "the value"),
    };
    let refuse = |what: &str| CommandError::usage(format!("--json: {source} {what}"));
    let json = json.map_err(|error| refuse(&format!("cannot be read: {error}")))?;
    // The host takes no arguments for none: here, a program before this one most likely failed.
    if json.trim_ascii().is_empty() {
        return Err(refuse("is empty: write {} for no arguments"));
    }
    let is_object = json.trim_ascii_start().first() == Some(&b'{');
    match serde_json::from_slice::<IgnoredAny>(&json) {
        Ok(_) if is_object => Ok(json.into()),
        Ok(_) => Err(refuse("is not an object of named arguments, such as {\"id\": 7}")),
        Err(error) => Err(refuse(&format!("is not JSON: {error}"))),
    }
}

fn read(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut text).map(|_| text)
}

/// Sends one request and returns the headers and JSON of a success.
fn request(
    config: &Path,
    target: &HostFlags,
    method: Method,
    path: &str,
    body: Option<Bytes>,
    deadline: Option<Duration>,
) -> Result<(HeaderMap, Value), CommandError> {
    let url = url(config, target)?;
    let mut request =
        Request::builder().method(method).uri(format!("{url}{path}")).header(CONTENT_TYPE, JSON);
    if let Some(deadline) = deadline {
        request = request.header(TIMEOUT_HEADER, deadline.as_millis().to_string());
    }
    if let Some(said) = &target.key {
        let key = Secret::of_command(said).map_err(|why| CommandError::usage(format!("--key {why}")))?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
            .map_err(|_| CommandError::usage("--key has characters that a header cannot have"))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Full::new(body.unwrap_or_default())).map_err(|_| {
        CommandError::usage(format!("`{path}` is not a path of a host: is the name of the function right?"))
    })?;
    let connector = connector(&url, target.ca.as_deref())?;
    let sent = async {
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let response = client.request(request).await.map_err(|error| unreachable(&url, &error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| CommandError::new(format!("the answer of {url} broke off: {error}")))?;
        Ok::<_, CommandError>((head, body.to_bytes()))
    };
    let patience = deadline.map_or(TIMEOUT, |deadline| deadline.saturating_add(GRACE));
    let answered = daemon::runtime()?.block_on(async { tokio::time::timeout(patience, sent).await });
    let (head, body) = answered
        .map_err(|_| CommandError::new(format!("{url} did not answer within {} s", patience.as_secs())))??;
    let json: Value = serde_json::from_slice(&body).map_err(|_| {
        CommandError::new(format!(
            "{url} answered HTTP status {} without JSON: is it a framex-host?",
            head.status.as_u16()
        ))
    })?;
    if head.status == StatusCode::OK {
        return Ok((head.headers, json));
    }
    Err(refused(&head, target.key.is_some(), json))
}

fn url(config: &Path, target: &HostFlags) -> Result<PeerUrl, CommandError> {
    if let Some(url) = &target.url {
        return PeerUrl::new(url).map_err(|error| CommandError::usage(format!("--url: {error}")));
    }
    let listen = if config.exists() {
        let host = Config::local_endpoints(config, &Environment::of_process())?;
        if host.tls {
            // Its certificate is for a name, which the config does not say.
            return Err(CommandError::usage(format!(
                "the host of {} speaks TLS: name it as its certificate does, with --url https://NAME:{}, and its \
                 authority with --ca",
                config.display(),
                host.listen.port()
            )));
        }
        host.listen
    } else {
        std::net::SocketAddr::from(([127, 0, 0, 1], 8080))
    };
    PeerUrl::new(&format!("http://{listen}"))
        .map_err(|error| CommandError::usage(format!("server.host: {error}")))
}

/// Returns a connector to `url`, as a host would connect to a peer.
fn connector(url: &PeerUrl, ca: Option<&Path>) -> Result<Connector, CommandError> {
    let mut flags = Overrides::default()
        .with("--url", "plugins.proxy.proxy_urls", format!("[\"{url}\"]"))
        .with("--url", "plugins.proxy.allow_addresses", "[\"0.0.0.0/0\", \"::/0\"]");
    if let Some(ca) = ca {
        flags = flags.with("--ca", "plugins.proxy.tls.ca", format!("{:?}", ca.display().to_string()));
    }
    let config = Config::from_text("", Path::new("command line"), &Environment::default(), &flags)?;
    Ok(Connector::new(&config.proxy))
}

fn unreachable(url: &PeerUrl, error: &dyn std::error::Error) -> CommandError {
    let cause = std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error);
    CommandError::new(format!("{url} cannot be reached: {cause}; is the host running, and --url right?"))
}

/// Returns the failure of a call, with the id by which the logs of all hosts on the way name it.
fn refused(head: &http::response::Parts, has_key: bool, mut problem: Value) -> CommandError {
    let ProblemView { code, app_code, detail, .. } = match view(&problem) {
        Ok(view) => view,
        Err(failed) => return failed,
    };
    let code = app_code.map_or(code.to_string(), |app_code| format!("{code} ({app_code})"));
    let advice = match head.status {
        StatusCode::UNAUTHORIZED if !has_key => "; name it with --key or FRAMEX_KEY",
        _ => "",
    };
    let message = format!("{code}, HTTP status {}: {detail}{advice}", head.status.as_u16());
    let id = head.headers.get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok());
    let message = id.map_or(message.clone(), |id| format!("{message} (request id {id})"));
    if let (Some(id), Some(problem)) = (id, problem.as_object_mut()) {
        problem.insert("request_id".to_owned(), id.into());
    }
    CommandError::new(message).with_json(problem)
}
