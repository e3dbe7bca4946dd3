//! Connections that are kept idle: no call is lost to them, neither behind a proxy nor between hosts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use framex_tests::{
    Client, Daemon, DaemonBuilder, Fault, FaultyPeer, Nginx, Relay, frames, http_answer, until,
};
use serde_json::json;

use crate::limits::{frame, frames as http2_frames};

const ECHO: &str = "misbehave.functions.echo";
const COUNTS: &str = "misbehave.ledger.notes";

fn host(server: &str) -> Daemon {
    Daemon::builder().plugin("misbehave").config(&format!("[server]\n{server}")).start()
}

fn limited(host: &Daemon, limit: &str) -> f64 {
    host.metric(&format!("framex_limits_reached_total{{limit=\"{limit}\"}}"))
}

fn pause(ms: u64) {
    std::thread::park_timeout(Duration::from_millis(ms));
}

/// Sends a `GET` in two parts, and reads the answer.
fn ask(stream: &mut TcpStream, between_ms: u64) -> String {
    stream.write_all(b"GET /health HTTP/1.1\r\nho").unwrap();
    pause(between_ms);
    stream.write_all(b"st: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !answer.ends_with(b"}") {
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the connection is closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8(answer).unwrap()
}

fn connect(host: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(host.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

#[test]
fn the_time_for_a_head_begins_with_its_first_byte() {
    let host = host("header_timeout_ms = 1500\nidle_timeout_ms = 60000\n");
    let mut stream = connect(&host);
    for _ in 0..3 {
        assert!(ask(&mut stream, 100).starts_with("HTTP/1.1 200 OK\r\n"));
        // Longer than a head may take.
        pause(2000);
    }
    assert_eq!(limited(&host, "header_time") + limited(&host, "idle_time"), 0.0);
    stream.write_all(b"GET /health HTTP/1.1\r\nhost").unwrap();
    assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0, "a head that goes on for too long ends the connection");
    assert_eq!(limited(&host, "header_time"), 1.0);
}

#[test]
fn a_head_that_has_begun_is_not_cut_off_by_the_idle_time() {
    let host = host("header_timeout_ms = 60000\nidle_timeout_ms = 700\n");
    let mut stream = connect(&host);
    ask(&mut stream, 0);
    pause(300);
    assert!(ask(&mut stream, 1200).starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0, "idle");
    assert_eq!((limited(&host, "header_time"), limited(&host, "idle_time")), (0.0, 1.0));
}

#[test]
fn an_idle_connection_of_http2_ends_with_a_goodbye() {
    let host = host("idle_timeout_ms = 500\n");
    let mut stream = connect(&host);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
    // :method GET, :scheme http, :path /, :authority a (RFC 7541, appendix A and section 6.2).
    stream.write_all(&frame(1, 4 | 1, 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a'])).unwrap();
    let mut bytes = Vec::new();
    let _reset = stream.read_to_end(&mut bytes);
    // GOAWAY without an error says which streams were taken (RFC 9113, section 6.8).
    let goodbyes = http2_frames(&bytes).filter(|(kind, payload)| *kind == 7 && payload[4..8] == [0; 4]);
    assert!(goodbyes.count() > 0, "{bytes:?}");
    assert_eq!(limited(&host, "idle_time"), 1.0);
    until("it is gone", || host.metric("framex_connections") == 0.0);
}

#[test]
fn nginx_that_keeps_connections_loses_no_call() {
    let host = host("header_timeout_ms = 150\n");
    let upstream =
        format!("upstream host {{ server {}; keepalive 8; keepalive_timeout 30s; }}", host.address());
    let server = "location / { proxy_pass http://host; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                  proxy_set_header Host test; }";
    let nginx = Nginx::start(&upstream, server);
    let (client, url) = (Client::default(), format!("{}/api/v1/functions/{ECHO}", nginx.url()));
    for number in 0..30 {
        let answer = client.post(&url, &json!({"data": "eA=="}));
        assert_eq!(answer.status, 200, "call {number}: {}", nginx.log());
        pause(130 + number * 2);
    }
    assert_eq!(host.metric("framex_connections_accepted_total"), 1.0, "all went over one connection");
}

/// Hosts `a` and `b`; [`COUNTS`] runs on `b`, which `a` reaches at `url`.
fn host_a(url: &str, more: &str) -> Daemon {
    let config = format!(
        "host_id = \"a\"\nplugins.proxy.proxy_urls = [{url:?}]\n\
         plugins.proxy.proxy_functions = {{ {url:?} = [{COUNTS:?}] }}\n\
         plugins.proxy.white_list = [\"/api/v1/proxy/remote\"]\n{more}\n"
    );
    builder(&config).start()
}

fn builder(config: &str) -> DaemonBuilder {
    Daemon::builder().plugin("misbehave").config(config).config(&frames::rules(&[frames::SECRET]))
}

/// Host `b`, with a ledger in which each run leaves a line.
fn host_b() -> Daemon {
    let b = builder("host_id = \"b\"");
    let ledger = b.folder().join("ledger");
    b.config(&format!("[plugins.misbehave]\nledger = {ledger:?}")).start()
}

fn noted(b: &Daemon) -> Vec<String> {
    let text = std::fs::read_to_string(b.folder().join("ledger")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_kept_connection_that_breaks_before_the_host_sees_the_call_costs_no_call() {
    for fault in [Fault::CloseUnsent, Fault::Reset(false)] {
        let b = host_b();
        let relay = Relay::start(b.address(), move |call| if call == 1 { fault } else { Fault::None });
        let a = host_a(&relay.url(), "");
        for id in ["one", "two", "three"] {
            let answer = a.call(COUNTS, &json!({ "id": id }));
            assert_eq!(answer.status, 200, "{fault:?} {id}: {}", answer.json());
        }
        assert_eq!((noted(&b).len(), relay.calls()), (3, 4), "{fault:?}: one was sent twice");
        assert_eq!(a.metric(&format!("framex_peer_frames_repeated_total{{peer=\"{}\"}}", relay.url())), 1.0);
    }
}

#[test]
fn a_call_that_ran_is_not_run_again_when_its_connection_breaks() {
    for fault in [Fault::CloseAnswered, Fault::Reset(true)] {
        let b = host_b();
        let relay = Relay::start(b.address(), move |call| if call == 1 { fault } else { Fault::None });
        let a = host_a(&relay.url(), "");
        assert_eq!(a.call(COUNTS, &json!({"id": "one"})).status, 200);
        let lost = a.call(COUNTS, &json!({"id": "two"}));
        let problem = lost.json();
        assert_eq!(
            (lost.status, &problem["code"], &problem["executed"]),
            (503, &json!("unavailable"), &json!(null))
        );
        assert_eq!(a.call(COUNTS, &json!({"id": "three"})).status, 200);
        assert_eq!(noted(&b).len(), 3, "{fault:?}: each ran once: {:?}", noted(&b));
        assert_eq!(b.metric("framex_requests_refused_total{code=\"replayed\"}"), 1.0, "{fault:?}");
    }
}

#[test]
fn a_frame_without_a_receiver_is_not_sent_again() {
    let b = host_b();
    let relay = Relay::start(b.address(), |call| if call == 1 { Fault::CloseUnsent } else { Fault::None });
    let url = relay.url();
    let config = format!(
        "host_id = \"a\"\nplugins.proxy.proxy_urls = {{ {url:?} = {{ bind = false }} }}\n\
         plugins.proxy.proxy_functions = {{ {url:?} = [{COUNTS:?}] }}\n\
         plugins.proxy.white_list = [\"/api/v1/proxy/remote\"]\n"
    );
    let a = builder(&config).start();
    assert_eq!(a.call(COUNTS, &json!({"id": "one"})).status, 200);
    let lost = a.call(COUNTS, &json!({"id": "two"}));
    assert_eq!((lost.status, &lost.json()["executed"]), (503, &json!(null)));
    assert_eq!((noted(&b).len(), relay.calls()), (1, 2));
}

#[test]
fn nginx_between_hosts_that_closes_as_a_call_comes_loses_none() {
    const CALLS: usize = 40;
    let b = host_b();
    let nginx = Nginx::start(
        "",
        &format!(
            "keepalive_timeout 100ms; location / {{ proxy_pass http://{}; proxy_set_header Host test; }}",
            b.address()
        ),
    );
    let a = host_a(&nginx.url(), "plugins.proxy.idle_timeout_ms = 60000");
    for number in 0..CALLS {
        let answer = a.call(COUNTS, &json!({ "id": format!("call {number}") }));
        assert_eq!(answer.status, 200, "call {number}: {}", answer.json());
        // Around the moment at which nginx closes.
        pause(92 + number as u64 % 12);
    }
    let mut ids = noted(&b);
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), noted(&b).len()), (CALLS, CALLS), "each ran once");
}

#[test]
fn idle_connections_to_peers_are_kept_for_as_long_as_the_config_says() {
    for (idle_ms, expected) in [(0, 3), (200, 3), (60_000, 1)] {
        let peer = FaultyPeer::answering(|body| match frames::open_request(body) {
            Some((opened, _)) => opened.answer(&frames::answer_by(frames::SCRIPTED, Ok(vec![0xc0].into()))),
            None => http_answer("401 Unauthorized", &[], b""),
        });
        let a = host_a(&peer.url(), &format!("plugins.proxy.idle_timeout_ms = {idle_ms}"));
        for _ in 0..3 {
            assert_eq!(a.call(COUNTS, &json!({"id": "x"})).status, 200);
            pause(400);
        }
        assert_eq!((peer.requests(), peer.connections()), (3, expected), "{idle_ms} ms");
    }
}
