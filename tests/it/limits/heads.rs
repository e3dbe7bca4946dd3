//! Heads of requests: how many lines they have, whom they are for, and what they take while bodies are awaited.

use std::io::{Read, Write};
use std::net::TcpStream;

use framex_host::wire;
use framex_tests::{Daemon, get, is_instrumented, until};

use super::{ECHO, check_serves, connect, frame, frames, host};

/// The memory that bodies may take together here, in bytes.
const BODY_MEMORY: usize = 16 << 20;
/// The longest head.
const HEAD_BYTES: usize = 64 << 10;
/// Streams of one connection.
const STREAMS: u32 = 256;

/// The bound of SECURITY.md on the memory of strangers on this number of connections, in bytes, with two cores.
fn bound(connections: usize) -> usize {
    let requests = (BODY_MEMORY / 4).max(16 << 20);
    BODY_MEMORY * 2 + requests + connections * (HEAD_BYTES * 3 + (64 << 10)) + 2 * (8 << 20)
}

/// A client of HTTP/2 whose heads are references to a line that it sent once.
struct Bomb {
    stream: TcpStream,
    next: u32,
}

impl Bomb {
    /// `None` if the host has no room.
    fn connect(host: &Daemon) -> Option<Self> {
        let mut stream = TcpStream::connect(host.address()).ok()?;
        stream.set_write_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let begin = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
        stream.write_all(&begin).ok()?;
        Some(Self { stream, next: 1 })
    }

    /// One head with `lines` lines, and a byte of a body that does not end.
    fn begin(&mut self, path: &str, content_type: &str, lines: usize) -> bool {
        // :method POST, :scheme http, :path and content-type written out (RFC 7541, appendix A and section 6.2).
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let mut head = [&[0x83, 0x86, 0x04][..], &text(path), &[0x0f, 0x10], &text(content_type)].concat();
        if self.next == 1 {
            // `x`, without a value, is the first line of the dynamic table from here on.
            head.extend(b"\x40\x01x\x00");
        }
        head.resize(head.len() + lines, 0xbe);
        let mut bytes = frame(1, 4, self.next, &head);
        bytes.extend(frame(0, 0, self.next, b"{"));
        self.next += 2;
        self.stream.write_all(&bytes).is_ok()
    }
}

/// Opens connections with all the streams that each may have, and holds them.
fn attack(host: &Daemon, connections: usize, path: &str, content_type: &str, lines: usize) -> Vec<Bomb> {
    let mut held = Vec::new();
    for _ in 0..connections {
        let Some(mut bomb) = Bomb::connect(host) else { continue };
        // A connection that is ended holds nothing any more.
        if (0..STREAMS).all(|_| bomb.begin(path, content_type, lines)) {
            held.push(bomb);
        }
    }
    held
}

#[test]
fn compressed_heads_with_unfinished_bodies_stay_within_the_bound() {
    let function = format!("/api/v1/functions/{ECHO}");
    for (path, content_type, lines) in [
        (function.as_str(), "application/json", 90),
        (function.as_str(), "application/json", 1900),
        ("/api/v1/proxy/remote", wire::CONTENT_TYPE, 90),
        ("/api/v1/proxy/remote", wire::CONTENT_TYPE, 1900),
    ] {
        let host = host(&format!("body_memory_max = {BODY_MEMORY}\nbody_timeout_ms = 60000\n")).start();
        check_serves(&host);
        let before = host.resident_bytes();
        for connections in [8, 48] {
            let held = attack(&host, connections, path, content_type, lines);
            check_serves(&host);
            assert_eq!(host.get("/health").status, 200);
            let grown = host.resident_bytes_max() - before;
            let most = bound(connections);
            println!(
                "{connections} connections, {lines} lines of {path}: {grown} bytes more, {most} are allowed"
            );
            assert!(
                is_instrumented() || grown <= most,
                "{grown} bytes more were resident, {most} are allowed"
            );
            drop(held);
        }
        until("all is given back", || host.metric("framex_body_memory_bytes") == 0.0);
        host.stop();
    }
}

#[test]
fn a_request_that_waits_takes_no_more_than_the_host_counts_for_it() {
    const CONNECTIONS: usize = 4;
    let host = host("body_timeout_ms = 60000\n").start();
    check_serves(&host);
    let before = host.resident_bytes();
    let held = attack(&host, CONNECTIONS, &format!("/api/v1/functions/{ECHO}"), "application/json", 90);
    until("all of them wait", || host.metric("framex_body_memory_bytes") >= 1024.0);
    let each = host.resident_bytes().saturating_sub(before) / (CONNECTIONS * STREAMS as usize);
    println!("{each} bytes for each request");
    assert!(is_instrumented() || each <= 16 << 10, "{each} bytes are resident for each request");
    drop(held);
    host.stop();
}

#[test]
fn a_head_has_at_most_a_hundred_lines_over_both_versions() {
    let host = host("").start();
    let of_http1 = |lines: usize| {
        let line = "x: y\r\n".repeat(lines);
        host.raw(format!("GET /health HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{line}\r\n")).status
    };
    assert_eq!((of_http1(98), of_http1(99)), (200, 431));
    let of_http2 = |lines: usize| {
        let mut stream = connect(&host);
        stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat()).unwrap();
        // :method GET, :scheme http, :path /health, and the lines.
        let mut head = b"\x82\x86\x04\x07/health\x40\x01x\x00".to_vec();
        head.resize(head.len() + lines - 1, 0xbe);
        stream.write_all(&frame(1, 4 | 1, 1, &head)).unwrap();
        let mut answer = Vec::new();
        while !frames(&answer).any(|(kind, _)| kind == 1) {
            let mut some = [0; 1024];
            let count = stream.read(&mut some).unwrap();
            assert!(count > 0, "the host ends the connection: {answer:?}");
            answer.extend(&some[..count]);
        }
        // :status 200 is in the static table, any other is written out.
        let (_, head) = frames(&answer).find(|(kind, _)| *kind == 1).unwrap();
        head.first() == Some(&0x88)
    };
    assert!(of_http2(100));
    assert!(!of_http2(101));
    check_serves(&host);
    host.stop();
}

#[test]
fn a_request_says_once_whom_it_is_for() {
    let host = host("").start();
    let ask = |version: &str, hosts: &str| {
        host.raw(format!("GET /health HTTP/{version}\r\nconnection: close\r\n{hosts}\r\n"))
    };
    for bad in [
        "",
        "host: a\r\nhost: a\r\n",
        "host: a\r\nhost: b\r\n",
        "host: a b\r\n",
        "host: a/b\r\n",
        "host: u@a\r\n",
        "host: a:x\r\n",
        "host: [::1\r\n",
        "host: \u{e4}\r\n",
        "host: a, b\r\n",
    ] {
        let answer = ask("1.1", bad);
        let (status, code, detail) = answer.problem();
        assert_eq!((status, code.as_str()), (400, "invalid_argument"), "{bad:?}: {detail}");
        assert!(detail.contains("Host"), "{detail}");
        let admin = host.admin_unix_raw(&format!("GET /health HTTP/1.1\r\nconnection: close\r\n{bad}\r\n"));
        assert_eq!(admin.status, 400, "{bad:?} on the admin socket");
    }
    assert_eq!(ask("1.0", "").status, 200);
    assert_eq!(ask("1.0", "host: a\r\nhost: a\r\n").status, 400);
    for good in ["host: a\r\n", "host:\r\n", "host: [::1]:80\r\n", "Host: a.example:8080\r\n"] {
        assert_eq!(ask("1.1", good).status, 200, "{good:?}");
    }
    let absolute = "GET http://a/health HTTP/1.1\r\nconnection: close\r\n";
    assert_eq!(host.raw(format!("{absolute}\r\n")).status, 400);
    assert_eq!(host.raw(format!("{absolute}host: a\r\n\r\n")).status, 200);
    assert_eq!(get(&format!("{}/health", host.url())).status, 200);
    host.stop();
}
