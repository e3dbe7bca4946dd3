//! Limits on what strangers can make a host spend; others are served meanwhile.

mod answers;
mod contents;
mod documents;
mod functions;
mod heads;
mod reloads;
mod results;
mod strangers;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use framex_tests::{Client, Daemon, DaemonBuilder, get, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

const ECHO: &str = "misbehave.functions.echo";

fn host(server: &str) -> DaemonBuilder {
    Daemon::builder().plugin("misbehave").config(&format!("[server]\n{server}"))
}

fn connect(host: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(host.address()).expect("the system queues connections");
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Waits until the other end has closed, and returns what it sent before.
#[track_caller]
fn closed(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it stays open"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn limited(host: &Daemon, limit: &str) -> f64 {
    host.metric(&format!("framex_limits_reached_total{{limit=\"{limit}\"}}"))
}

/// A call of a healthy client.
#[track_caller]
fn check_serves(host: &Daemon) {
    let answer = host.call(ECHO, &json!({"data": "eA=="}));
    assert_eq!(answer.status, 200, "{}", answer.json());
}

#[test]
fn ten_thousand_idle_connections_make_room_for_a_healthy_client() {
    const WANTED: u64 = 10_000;
    let limit = getrlimit(Resource::Nofile);
    let needed = WANTED + 1000;
    if limit.current.is_some_and(|current| current < needed) {
        let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
        setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }).unwrap();
    }
    let possible = getrlimit(Resource::Nofile).current.map_or(WANTED, |current| WANTED.min(current - 1000));
    let host = host("connections_per_address_max = 1000000\nconnections_max = 1024\n").start();
    check_serves(&host);
    let before = host.resident_bytes();
    let mut idle = Vec::new();
    for number in 0..possible {
        let mut stream = connect(&host);
        if number % 2 == 0 {
            // Some have begun a request.
            let _closed = stream.write_all(b"POST /api/v1/functions/x HTTP/1.1\r\nhost: a\r\n");
        }
        idle.push(stream);
        if number % 500 == 0 {
            check_serves(&host);
        }
    }
    check_serves(&host);
    let open = host.metric("framex_connections");
    assert!(open <= 1024.0, "{open} connections are open");
    assert!(limited(&host, "connections") >= possible as f64 - 1100.0);
    let grown = host.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more are resident");
    drop(idle);
    host.stop();
}

#[test]
fn connections_are_limited_per_address() {
    let host = host("connections_per_address_max = 3\nheader_timeout_ms = 60000\n").start();
    let mut held: Vec<TcpStream> = (0..3).map(|_| connect(&host)).collect();
    until("they are open", || host.metric("framex_connections") == 3.0);
    assert_eq!(closed(connect(&host)), "");
    assert!(limited(&host, "connections_per_address") >= 1.0);
    held.pop();
    until("one was given back", || host.metric("framex_connections") == 2.0);
    check_serves(&host);
}

#[test]
fn slow_and_silent_clients_are_given_up() {
    let times =
        "header_timeout_ms = 1000\nbody_timeout_ms = 1000\nidle_timeout_ms = 1000\nwrite_timeout_ms = 1000\n";
    let host = host(times).start();
    let silent = connect(&host);
    let mut slow_head = connect(&host);
    slow_head.write_all(b"POST /api/v1/functions/x HTTP/1.1\r\nhost:").unwrap();
    let mut slow_body = connect(&host);
    let head = format!(
        "POST /api/v1/functions/{ECHO} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    slow_body.write_all(head.as_bytes()).unwrap();
    let mut idle = connect(&host);
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert_eq!(closed(silent), "");
    closed(slow_head);
    slow_body.shutdown(Shutdown::Read).unwrap_or_default();
    assert!(closed(idle).starts_with("HTTP/1.1 200 OK\r\n"));
    until("the body was given up", || limited(&host, "body_time") >= 1.0);
    until("both heads were given up", || limited(&host, "header_time") >= 2.0);
    until("all are gone", || host.metric("framex_connections") == 0.0);
    assert_eq!(host.metric("framex_body_memory_bytes"), 0.0);
}

#[test]
fn a_client_that_does_not_take_its_answer_is_given_up() {
    let host = host("write_timeout_ms = 300\nbody_bytes_max = 16777216\n").start();
    let body = json!({"data": "AAAA".repeat(3 << 20)}).to_string();
    let mut stream = connect(&host);
    let head = format!(
        "POST /api/v1/functions/{ECHO} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    until("it was given up", || limited(&host, "write_time") >= 1.0);
    until("its place is free", || host.metric("framex_connections") == 0.0);
    assert_eq!(host.metric("framex_calls_in_flight"), 0.0);
}

#[test]
fn bodies_share_one_limit_of_memory() {
    let host =
        host("body_bytes_max = 1048576\nbody_memory_max = 1048576\nheader_timeout_ms = 60000\n").start();
    let begin = |bytes: usize| {
        let mut stream = connect(&host);
        let head = format!(
            "POST /api/v1/functions/{ECHO} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b' '; bytes]).unwrap();
        stream
    };
    // What is announced and does not come takes nothing.
    let announced: Vec<TcpStream> = (0..50).map(|_| begin(1)).collect();
    check_serves(&host);
    let half = begin(600_000);
    until("it has come", || host.metric("framex_body_memory_bytes") >= 600_000.0);
    check_serves(&host);
    let answer = closed_after_answer(begin(600_000));
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("body_memory_max"), "{answer}");
    assert_eq!(limited(&host, "body_memory"), 1.0);
    drop((announced, half));
    until("all was given back", || host.metric("framex_body_memory_bytes") == 0.0);
    check_serves(&host);
}

/// Bytes that arrive after the client has announced the end.
fn closed_after_answer(stream: TcpStream) -> String {
    stream.shutdown(Shutdown::Write).unwrap_or_default();
    closed(stream)
}

/// One HTTP/2 frame (RFC 9113, section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The kind and the payload of each frame.
pub(crate) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (payload, rest) = rest.split_at_checked(length as usize)?;
        bytes = rest;
        Some((head[3], payload))
    })
}

#[test]
fn a_flood_of_reset_streams_does_not_hurt_other_clients() {
    const STREAMS: u32 = 20_000;
    let host = host("").start();
    check_serves(&host);
    let before = host.resident_bytes();
    let mut stream = connect(&host);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
    // :method GET, :scheme http, :path /, :authority a (RFC 7541, appendix A and section 6.2).
    let headers = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    for number in 0..STREAMS {
        let id = number * 2 + 1;
        let both = [frame(1, 4 | 1, id, &headers), frame(3, 0, id, &8_u32.to_be_bytes())].concat();
        if stream.write_all(&both).is_err() {
            break;
        }
        if number % 2000 == 0 {
            check_serves(&host);
        }
    }
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    drop(stream);
    // GOAWAY with ENHANCE_YOUR_CALM (RFC 9113, sections 6.8 and 7).
    let (kind, payload) = frames(&answer).last().expect("the host says why it goes");
    assert_eq!((kind, &payload[4..8]), (7, &0x0b_u32.to_be_bytes()[..]));
    check_serves(&host);
    until("the connection is gone", || host.metric("framex_connections") <= 1.0);
    let grown = host.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more are resident");
    host.stop();
}

#[test]
fn ten_times_the_load_that_fits_leaves_the_goodput_as_it_was() {
    let host = host("in_flight_max = 4\nqueue_max = 4\n").start();
    let url = format!("{}/api/v1/functions/misbehave.functions.sleeps", host.url());
    let goodput = |clients: usize| {
        let (served, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    let client = Client::default();
                    while !stop.load(Ordering::Relaxed) {
                        let answer = client.post(&url, &json!({"ms": 40}));
                        match answer.status {
                            200 => drop(served.fetch_add(1, Ordering::Relaxed)),
                            // As the answer asks for, though sooner.
                            429 => std::thread::park_timeout(Duration::from_millis(20)),
                            status => panic!("{status}: {}", answer.json()),
                        }
                    }
                });
            }
            while begun.elapsed() < Duration::from_secs(3) {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            stop.store(true, Ordering::Relaxed);
        });
        served.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
    };
    let fits = goodput(4);
    let overloaded = goodput(40);
    let refused = host.metric("framex_requests_refused_total{code=\"overloaded\"}");
    assert!(
        overloaded >= fits * 0.8,
        "{overloaded} instead of {fits} calls a second, {refused} were refused"
    );
    assert!(refused > 0.0, "it was not too much");
    let ready: Value = get(&format!("{}/ready", host.url())).json();
    assert_eq!(ready["status"], "ready");
}
