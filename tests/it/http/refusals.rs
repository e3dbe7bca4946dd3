//! Every answer of a call that has no result says whether the function ran.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use framex_host::wire::CONTENT_TYPE as SEALED;
use framex_tests::{Answer, ClosedPort, Daemon, frames, send, until};
use serde_json::{Value, json};

const ECHO: &str = "misbehave.functions.echo";
const SLEEPS: &str = "misbehave.functions.sleeps";
const KEY: &str = "a-key-of-sixteen-and-more";
const JSON: (&str, &str) = ("content-type", "application/json");

/// Method and path, headers, body, and the status of the refusal.
type Case<'a> = ((&'a str, &'a str), &'a [(&'a str, &'a str)], &'a [u8], u16);

fn path(function: &str) -> String {
    format!("/api/v1/functions/{function}")
}

#[track_caller]
fn check(answer: &Answer, status: u16, executed: Option<bool>) {
    let problem = answer.json();
    let expected = executed.map_or(Value::Null, Value::Bool);
    assert_eq!((answer.status, problem.get("executed")), (status, Some(&expected)), "{problem}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
}

/// Sends a call, and checks that it was refused and did not run.
#[track_caller]
fn refused(host: &Daemon, (method, path): (&str, &str), headers: &[(&str, &str)], body: &[u8], status: u16) {
    check(&send(method, &format!("{}{path}", host.url()), headers, body), status, Some(false));
}

#[test]
fn refusals_before_the_call() {
    let host = Daemon::builder()
        .plugin("misbehave")
        .config("server.body_bytes_max = 4096\nserver.body_timeout_ms = 300\n")
        .config(&frames::rules(&[frames::SECRET]))
        .start();
    let (echo, good) = (path(ECHO), &br#"{"data":"eA=="}"#[..]);
    let post = ("POST", echo.as_str());
    for function in ["there.is.none", "no!name", "a/b", "a%2fb"] {
        refused(&host, ("POST", &path(function)), &[JSON], b"{}", 404);
    }
    let cases: [Case<'_>; 9] = [
        (("GET", &*echo), &[], b"", 405),
        (("DELETE", &*echo), &[], b"", 405),
        (post, &[], good, 415),
        (post, &[("content-type", "text/plain")], good, 415),
        (post, &[JSON, ("content-encoding", "gzip")], good, 415),
        (post, &[JSON], b"not json", 400),
        (post, &[JSON], br#"{"data":7}"#, 400),
        (post, &[JSON, ("x-framex-timeout-ms", "soon")], good, 400),
        (post, &[JSON], &[b' '; 8192], 413),
    ];
    for (target, headers, body, status) in cases {
        refused(&host, target, headers, body, status);
    }
    refused(&host, post, &[JSON, ("idempotency-key", &"x".repeat(65))], good, 400);
    refused(&host, post, &[JSON, ("sec-fetch-site", "cross-site")], good, 403);
    let raw = |head: &str| host.raw(format!("POST {echo} HTTP/1.1\r\nconnection: close\r\n{head}\r\n"));
    let kind = "content-type: application/json\r\n";
    check(&raw(&format!("{kind}content-length: 0\r\n")), 400, Some(false));
    check(&raw(&format!("host: a\r\nhost: b\r\n{kind}content-length: 0\r\n")), 400, Some(false));
    check(&raw(&format!("host: a\r\n{kind}content-length: 100\r\n")), 408, Some(false));
    check(
        &raw(&format!("host: a\r\n{kind}transfer-encoding: chunked\r\n\r\n2000\r\n{}", " ".repeat(8192))),
        413,
        Some(false),
    );
    check(&raw(&format!("host: a\r\n{kind}transfer-encoding: gzip, chunked\r\n")), 501, Some(false));
    // Other requests do not have it.
    let no_call = send("GET", &format!("{}/nothing", host.url()), &[], b"");
    assert_eq!((no_call.status, no_call.json().get("executed")), (404, None));
}

#[test]
fn refusals_of_sealed_calls_that_are_not_sealed_themselves() {
    let host = Daemon::builder()
        .plugin("misbehave")
        .config("server.body_bytes_max = 4096\n")
        .config(&frames::rules(&[frames::SECRET]))
        .start();
    let target = ("POST", "/api/v1/proxy/remote");
    refused(&host, ("GET", target.1), &[], b"", 405);
    refused(&host, target, &[("content-type", "text/plain")], b"x", 415);
    refused(&host, target, &[("content-type", SEALED), ("content-encoding", "br")], b"x", 415);
    refused(&host, target, &[("content-type", SEALED)], &[0; 80], 401);
    refused(&host, target, &[("content-type", SEALED)], b"FXW9", 400);
    refused(&host, target, &[("content-type", SEALED)], &[0; 1 << 20], 413);
    let keyless = Daemon::builder()
        .config("server.host = \"127.0.0.1\"\n[auth.rules]\n\"/api/v1/*\" = [\"k\"]\n")
        .start();
    refused(&keyless, target, &[("content-type", SEALED)], &[0; 80], 401);
}

#[test]
fn refusals_for_lack_of_a_right() {
    let caller = format!("callers.web = {{ keys = [{KEY:?}], functions = [{ECHO:?}] }}");
    let host = Daemon::builder().plugin("misbehave").config(&format!("[auth]\n{caller}\n")).start();
    let echo = path(ECHO);
    refused(&host, ("POST", &echo), &[JSON], b"{}", 401);
    refused(&host, ("POST", &echo), &[JSON, ("authorization", "Bearer wrong")], b"{}", 401);
    refused(&host, ("POST", &path(SLEEPS)), &[JSON, ("authorization", KEY)], b"{}", 403);
}

#[test]
fn refusals_for_lack_of_room() {
    let host = Daemon::builder()
        .plugin("misbehave")
        .config("[server]\nin_flight_max = 1\nqueue_max = 0\nbody_memory_max = 1048576\nbody_bytes_max = 1048576\n")
        .start();
    let sleeping = host.begin(SLEEPS, &json!({"ms": 60_000}));
    until("it runs", || host.metric("framex_calls_in_flight") == 1.0);
    refused(&host, ("POST", &path(ECHO)), &[JSON], br#"{"data":"eA=="}"#, 429);
    drop(sleeping);
    let begin = || {
        let mut stream = TcpStream::connect(host.address()).unwrap();
        let head = "host: a\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
        stream.write_all(format!("POST {} HTTP/1.1\r\n{head}", path(ECHO)).as_bytes()).unwrap();
        let _refused = stream.write_all(&[b' '; 700_000]);
        stream
    };
    let _held = begin();
    until("it has come", || host.metric("framex_body_memory_bytes") >= 700_000.0);
    let mut last = begin();
    last.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = vec![0; 4096];
    let count = std::io::Read::read(&mut last, &mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("\"executed\":false"), "{answer}");
}

#[test]
fn failures_of_the_call_itself() {
    let gone = ClosedPort::take();
    let host = Daemon::builder()
        .plugin("misbehave")
        .config(&format!(
            "plugins.proxy.wait_ms = 0\nplugins.proxy.proxy_urls = [{url:?}]\n\
             plugins.proxy.proxy_functions = {{ {url:?} = [\"far.f\"] }}\n",
            url = gone.url()
        ))
        .config(&frames::rules(&[frames::SECRET]))
        .start();
    check(&host.call("far.f", &json!({})), 503, Some(false));
    check(&host.call("misbehave.functions.fails", &json!({"id": 1})), 422, Some(true));
    check(&host.call("misbehave.functions.panics", &json!({"message": "x"})), 500, Some(true));
    check(&host.call_within(SLEEPS, &json!({"ms": 60_000}), 50), 504, Some(true));
}
