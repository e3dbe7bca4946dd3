//! Clients that read answers slowly or hold them back, and their connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use framex_tests::{Daemon, until};

use super::{ECHO, check_serves, closed, connect, frame, frames, host, limited};

/// Much more than the system takes off the host's hands at once.
const LARGE: usize = 24 << 20;
/// The largest body that these hosts take.
const BODY: &str = "body_bytes_max = 33554432\n";

/// One field of a head in HTTP/2, without compression (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

/// A client of HTTP/2 that takes nothing of any answer.
struct HoldsBack {
    stream: TcpStream,
    requests: u32,
}

impl HoldsBack {
    fn connect(host: &Daemon) -> Self {
        let mut stream = connect(host);
        // SETTINGS_INITIAL_WINDOW_SIZE is 0 (RFC 9113, section 6.5.2).
        let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&[settings, frame(4, 1, 0, &[])].concat()).unwrap();
        Self { stream, requests: 0 }
    }

    /// Returns whether the host still accepts requests.
    fn get(&mut self, path: &str) -> bool {
        let head = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")];
        let head: Vec<u8> = head.iter().flat_map(|(name, value)| field(name, value)).collect();
        let id = self.requests * 2 + 1;
        self.requests += 1;
        self.stream.write_all(&frame(1, 4 | 1, id, &head)).is_ok()
    }

    /// Waits for the head of an answer.
    fn head(&mut self) {
        let mut bytes = Vec::new();
        while !frames(&bytes).any(|(kind, _)| kind == 1) {
            let mut some = [0; 1024];
            let count = self.stream.read(&mut some).unwrap();
            assert!(count > 0, "the host ends the connection");
            bytes.extend(&some[..count]);
        }
    }
}

/// Calls `echo` with `bytes` bytes without reading the answer.
fn begin_large(host: &Daemon, bytes: usize) -> TcpStream {
    let mut stream = connect(host);
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 64 << 10).unwrap();
    let length = u32::try_from(bytes).unwrap().to_be_bytes();
    let arguments = [&b"\x81\xa4data\xc6"[..], &length, &vec![7; bytes]].concat();
    let head = format!(
        "POST /api/v1/functions/{ECHO} HTTP/1.1\r\nhost: a\r\ncontent-type: application/msgpack\r\ncontent-length: {}\r\n\r\n",
        arguments.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&arguments).unwrap();
    stream
}

/// Reads up to that number of bytes and returns how many there were.
fn take(stream: &mut TcpStream, bytes: usize) -> usize {
    let mut taken = Vec::with_capacity(bytes);
    // However it ends: what came is in there.
    let _end = stream.take(bytes as u64).read_to_end(&mut taken);
    taken.len()
}

#[test]
fn answers_that_are_held_back_count_as_memory() {
    let host = host("body_memory_max = 1048576\nwrite_timeout_ms = 60000\n").start();
    let answer = host.get("/api/v1/openapi.json").body.len();
    let streams = (1 << 20) / answer + 20;
    assert!(streams < 256, "an answer of {answer} bytes is too short for this test");
    let mut client = HoldsBack::connect(&host);
    for _ in 0..streams {
        assert!(client.get("/api/v1/openapi.json"));
    }
    until("answers are refused", || limited(&host, "body_memory") >= 10.0);
    let held = host.metric("framex_body_memory_bytes");
    assert!(held > 900_000.0 && held < 1_200_000.0, "{held} bytes are held");
    // Short ones are not, so that the host is not taken for dead.
    assert_eq!(host.get("/health").status, 200);
    drop(client);
    until("all was given back", || host.metric("framex_body_memory_bytes") == 0.0);
    check_serves(&host);
}

#[test]
fn answers_that_are_held_back_are_given_up() {
    let host = host("write_timeout_ms = 500\nidle_timeout_ms = 60000\n").start();
    let mut client = HoldsBack::connect(&host);
    assert!(client.get("/ready"));
    let deadline = Instant::now() + Duration::from_secs(30);
    // Requests do not keep it, nor does what is taken of other answers.
    while limited(&host, "write_time") == 0.0 {
        assert!(Instant::now() < deadline, "the answer is held forever");
        client.get("/none");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    closed(client.stream);
    until("the connection is gone", || host.metric("framex_connections") == 0.0);
    assert_eq!(host.metric("framex_body_memory_bytes"), 0.0);
}

#[test]
fn a_host_that_stops_does_not_wait_for_answers_that_are_held_back() {
    let host = host("write_timeout_ms = 500\ndrain_timeout_ms = 60000\n").start();
    let mut client = HoldsBack::connect(&host);
    assert!(client.get("/health"));
    client.head();
    let begun = Instant::now();
    host.stop();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_connection_whose_answer_is_being_taken_is_not_idle() {
    let host = host(&format!("{BODY}header_timeout_ms = 1000\nidle_timeout_ms = 1000\n")).start();
    let mut slow = begin_large(&host, LARGE);
    let mut taken = 0;
    loop {
        let now = take(&mut slow, 1 << 20);
        taken += now;
        if now < 1 << 20 {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(150));
    }
    assert!(taken > LARGE, "the answer ended after {taken} bytes");
    assert_eq!(limited(&host, "write_time"), 0.0);
}

#[test]
fn idle_connections_end_also_where_heads_have_more_time() {
    let host = host("idle_timeout_ms = 200\nheader_timeout_ms = 600000\n").start();
    let mut idle = connect(&host);
    until("its time for a head runs", || host.metric("framex_connections") == 1.0);
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(closed(idle).starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(limited(&host, "idle_time"), 1.0);
}

#[test]
fn a_client_that_reads_its_answer_stays_when_others_make_room() {
    let host = host(&format!("{BODY}connections_max = 4\nheader_timeout_ms = 600000\n")).start();
    let mut slow = begin_large(&host, LARGE);
    let begun = take(&mut slow, 1 << 10);
    let mut silent = Vec::new();
    for number in 0..12 {
        silent.push(connect(&host));
        until("it was taken in", || {
            host.metric("framex_connections_accepted_total") >= f64::from(number + 2)
        });
    }
    assert!(limited(&host, "connections") >= 9.0);
    let taken = begun + take(&mut slow, LARGE - begun);
    assert!(taken == LARGE, "the answer ended after {taken} bytes");
}

#[test]
fn a_client_that_reads_nothing_makes_room_before_it_is_given_up() {
    let host = host(&format!("{BODY}connections_max = 2\nwrite_timeout_ms = 600000\n")).start();
    let mut held = [begin_large(&host, LARGE), begin_large(&host, LARGE)];
    for stream in &mut held {
        assert_eq!(take(stream, 1), 1);
    }
    check_serves(&host);
    assert_eq!(limited(&host, "write_time"), 0.0);
    drop(held);
}
