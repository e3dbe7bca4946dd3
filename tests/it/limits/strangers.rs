//! Strangers who hold what there is: memory, connections, the admin API. Callers with a key are served meanwhile.

mod goodput;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use framex_host::wire;
use framex_tests::{Client, Daemon, frames, until};
use rustix::net::{AddressFamily, SocketType, bind, connect as connect_to, socket};
use serde_json::json;

use super::{ECHO, closed, connect, frame, frames as http2_frames, host, limited};

/// A key of the plain path.
const KEY: &str = "caller-key-of-16-bytes";

/// A connection from an address of this machine, `127.0.0.LAST`.
fn connect_from(last: u8, to: &str) -> Option<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0)).unwrap();
    let to: SocketAddr = to.parse().unwrap();
    connect_to(&socket, &to).ok()?;
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    Some(stream)
}

/// The head of a sealed call over HTTP/1.1.
fn head(length: usize) -> String {
    format!(
        "POST /api/v1/proxy/remote HTTP/1.1\r\nhost: a\r\ncontent-type: {}\r\ncontent-length: {length}\r\n\r\n",
        wire::CONTENT_TYPE
    )
}

/// The first bytes of a frame by the key of this secret, as an attacker on the path can repeat them.
fn begun_frame(secret: &str, bytes: usize) -> Vec<u8> {
    let (_, mut frame) = frames::seal(&frames::key_of(secret), &frames::envelope(ECHO, &json!({"data": ""})));
    frame.resize(bytes.max(frame.len()), 7);
    frame
}

fn with_keys(server: &str) -> Daemon {
    host(server)
        .config(&format!(
            "[plugins.proxy.auth]\nrules = {{ \"/api/v1/proxy/remote\" = [{:?}] }}\n\
             [auth]\nrules = {{ \"/api/v1/functions/*\" = [{KEY:?}] }}",
            frames::SECRET
        ))
        .start()
}

#[track_caller]
fn check_sealed(host: &Daemon) {
    let envelope = frames::envelope(ECHO, &json!({"data": "eA=="}));
    let outcome = frames::call_sealed(&host.url(), &frames::key(), &envelope).outcome;
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[track_caller]
fn check_plain(host: &Daemon) {
    let url = format!("{}/api/v1/functions/{ECHO}", host.url());
    let headers = [("content-type", "application/json"), ("authorization", KEY)];
    let answer = Client::default().send("POST", &url, &headers, br#"{"data": "eA=="}"#);
    assert_eq!(answer.status, 200, "{}", answer.json());
}

/// An answer's head and body without what differs from one to the next.
fn without_date(answer: &str) -> String {
    answer.lines().filter(|line| !line.starts_with("date: ")).collect()
}

#[test]
fn a_frame_of_an_unknown_key_is_refused_by_its_first_bytes() {
    let host = with_keys("");
    let whole = begun_frame(frames::OTHER_SECRET, 4096);
    let forged = begun_frame(frames::SECRET, 4096);
    let mut other_kind = begun_frame(frames::SECRET, 64);
    other_kind[4] = 2;
    let begin = |bytes: &[u8], length: usize| {
        let mut stream = connect(&host);
        stream.write_all(&[head(length).as_bytes(), bytes].concat()).unwrap();
        stream
    };
    let answer = |mut stream: TcpStream| {
        let mut text = Vec::new();
        // The body of the one refusal ends with a brace.
        while !text.ends_with(b"}") {
            let mut some = [0; 1024];
            let count = stream.read(&mut some).expect("it is refused at once");
            assert!(count > 0, "{}", String::from_utf8_lossy(&text));
            text.extend(&some[..count]);
        }
        without_date(&String::from_utf8(text).unwrap())
    };
    let expected = answer(begin(&forged, forged.len()));
    assert!(expected.starts_with("HTTP/1.1 401 "), "{expected}");
    for (bytes, length) in [
        (&whole[..], whole.len()),
        // Nothing more than the header comes, and much more is announced.
        (&whole[..64], 4 << 20),
        (&other_kind[..64], 4 << 20),
        (&[0; 64], 4 << 20),
        (b"too short to be one", 19),
    ] {
        let found = answer(begin(bytes, length));
        assert_eq!(found.replace("connection: close", ""), expected.replace("connection: close", ""));
    }
    assert!(host.metric("framex_body_memory_bytes") < 64e3);
    check_sealed(&host);
    host.stop();
}

/// Strangers hold three quarters of the memory of bodies: what has arrived is accepted in any case, until the ones that make
/// room have left.
fn check_part_of_strangers(host: &Daemon, memory: usize) {
    until("strangers hold their part alone", || {
        host.metric("framex_body_memory_bytes") <= memory as f64 * 0.76 + 300e3
    });
}

/// Each address holds as much as it can of frames that are never complete, by `begun`, over HTTP/2; what it holds lives as
/// long as the answer of this.
fn hold_memory(host: &Daemon, begun: &[u8]) -> Vec<TcpStream> {
    hold_memory_after(host, 8, &[], begun)
}

/// The same from several addresses, over connections that begin with a whole frame, if there is one.
fn hold_memory_after(host: &Daemon, addresses: u8, whole: &[u8], begun: &[u8]) -> Vec<TcpStream> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let path = text("/api/v1/proxy/remote");
    let head = [&[0x83, 0x86, 0x04][..], &path, &[0x0f, 0x10], &text(wire::CONTENT_TYPE)].concat();
    let mut held = Vec::new();
    for last in 2..2 + addresses {
        let Some(mut stream) = connect_from(last, host.address()) else { continue };
        let mut bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
        if !whole.is_empty() {
            bytes.extend(frame(1, 4, 101, &head));
            bytes.extend(frame(0, 1, 101, whole));
            if stream.write_all(&std::mem::take(&mut bytes)).is_err() || stream.read(&mut [0; 4096]).is_err()
            {
                continue;
            }
        }
        // Fewer than 64 KiB each, which a stream may have before its window is widened.
        for number in 0..14 {
            let id = number * 2 + 103;
            bytes.extend(frame(1, 4, id, &head));
            for part in begun.chunks(16 << 10) {
                bytes.extend(frame(0, 0, id, part));
            }
        }
        // One that was refused ends the connection, perhaps in the middle of this.
        if stream.write_all(&bytes).is_ok() {
            held.push(stream);
        }
    }
    held
}

#[test]
fn bodies_of_strangers_leave_memory_to_callers_with_a_key() {
    const MEMORY: usize = 4 << 20;
    let host = with_keys(&format!(
        "body_memory_max = {MEMORY}\nbody_bytes_max = 1048576\nbody_timeout_ms = 60000\nheader_timeout_ms = 60000\n"
    ));
    check_sealed(&host);
    let kept = Client::default();
    let unknown = hold_memory(&host, &begun_frame(frames::OTHER_SECRET, 60_000));
    check_sealed(&host);
    check_plain(&host);
    assert!(host.metric("framex_body_memory_bytes") < 64e3, "nothing is held for keys that there are not");
    drop(unknown);
    // Those who have seen a frame know the id of its key.
    let known = hold_memory(&host, &begun_frame(frames::SECRET, 60_000));
    until("strangers hold what they may", || host.metric("framex_body_memory_bytes") > MEMORY as f64 * 0.5);
    for _ in 0..50 {
        check_part_of_strangers(&host, MEMORY);
        check_sealed(&host);
        check_plain(&host);
        // A kept connection, and a body that takes a while to arrive.
        let envelope = frames::envelope(ECHO, &json!({"data": "eHh4".repeat(50_000)}));
        let (id, frame) = frames::seal(&frames::key(), &envelope);
        let url = format!("{}/api/v1/proxy/remote", host.url());
        let answer = kept.send("POST", &url, &[("content-type", wire::CONTENT_TYPE)], &frame);
        assert!(frames::open(&frames::key(), id, &answer).outcome.is_ok());
    }
    // An address that holds less than another one is not refused for that one.
    let mut newcomer = connect_from(10, host.address()).unwrap();
    let part = begun_frame(frames::SECRET, 60_000);
    newcomer.write_all(&[head(200_000).as_bytes(), &part].concat()).unwrap();
    newcomer.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let waits = newcomer.read(&mut [0; 100]).expect_err("its body is awaited");
    assert!(matches!(waits.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{waits}");
    drop((known, newcomer));
    until("all is given back", || host.metric("framex_body_memory_bytes") == 0.0);
    host.stop();
}

/// An attacker on the path can send a frame again, without a key.
#[test]
fn a_recorded_frame_makes_no_connection_that_of_a_caller_with_a_key() {
    const MEMORY: usize = 3 << 20;
    let host = with_keys(&format!(
        "body_memory_max = {MEMORY}\nbody_bytes_max = 1048576\nbody_timeout_ms = 60000\nheader_timeout_ms = 60000\n"
    ));
    let key = frames::key();
    let call = frames::envelope(ECHO, &json!({"data": "eA=="}));
    let (id, replayed) = frames::seal(&key, &call);
    assert!(frames::open(&key, id, &frames::post_frame(&host.url(), &replayed)).outcome.is_ok());
    let mut for_another = call.clone();
    for_another.extensions.to = Some(frames::SCRIPTED);
    let hello = wire::RequestEnvelope::hello(&framex_host::base::Identity::new("other".into()), 5000);
    let old = wire::seal_request(&key, frames::now_ms() - 3_600_000, &call, wire::Compression::Never).1;
    for recorded in [replayed, frames::seal(&key, &for_another).1, frames::seal(&key, &hello).1, old] {
        let begun = begun_frame(frames::SECRET, 60_000);
        let mut held = hold_memory_after(&host, 16, &recorded, &begun);
        // Connections of strangers may be ended at any time, to make room for others of them.
        let holds = || host.metric("framex_body_memory_bytes") > MEMORY as f64 * 0.5;
        let held_much = (0..20).any(|_| {
            let deadline = Instant::now() + Duration::from_secs(1);
            while Instant::now() < deadline {
                if holds() {
                    return true;
                }
                std::thread::yield_now();
            }
            held.extend(hold_memory_after(&host, 16, &recorded, &begun));
            false
        });
        assert!(held_much, "strangers hold nothing");
        for _ in 0..10 {
            check_part_of_strangers(&host, MEMORY);
            check_sealed(&host);
            check_plain(&host);
        }
        drop(held);
        until("all is given back", || host.metric("framex_body_memory_bytes") == 0.0);
    }
    host.stop();
}

#[test]
fn connections_that_hold_unfinished_bodies_make_room() {
    let host = with_keys(
        "connections_max = 32\nconnections_per_address_max = 16\nbody_timeout_ms = 600000\nheader_timeout_ms = 60000\n",
    );
    let begun = begun_frame(frames::SECRET, 100);
    let hold = |last: u8| {
        let mut stream = connect_from(last, host.address())?;
        stream.write_all(&[head(4 << 20).as_bytes(), &begun[..80]].concat()).ok()?;
        Some(stream)
    };
    let held: Vec<TcpStream> =
        [2, 3].into_iter().flat_map(|last| (0..16).filter_map(move |_| hold(last))).collect();
    until("they hold all there is", || host.metric("framex_connections") >= 31.0);
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(host.get("/health").status, 200);
        assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
        check_sealed(&host);
        check_plain(&host);
    }
    assert!(limited(&host, "connections") >= 1.0);
    drop(held);
    host.stop();
}

#[test]
fn a_connection_that_holds_a_body_and_asks_for_more_makes_room_as_well() {
    let host = with_keys("connections_max = 2\nbody_timeout_ms = 600000\nheader_timeout_ms = 60000\n");
    // :method GET, :scheme http, :path /health.
    let health = b"\x82\x86\x04\x07/health";
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let sealed =
        [&b"\x83\x86\x04"[..], &text("/api/v1/proxy/remote"), b"\x0f\x10", &text(wire::CONTENT_TYPE)]
            .concat();
    let mut held = [connect(&host), connect(&host)];
    for stream in &mut held {
        let preface = &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..];
        stream.write_all(&[preface, &frame(4, 0, 0, &[]), &frame(1, 4, 1, &sealed)].concat()).unwrap();
    }
    let ends = Instant::now() + Duration::from_secs(3);
    let mut id = 3;
    while Instant::now() < ends {
        for stream in &mut held {
            // It may have made room by now.
            let _sent = stream.write_all(&frame(1, 4 | 1, id, health));
        }
        id += 2;
        std::thread::park_timeout(Duration::from_millis(50));
    }
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(host.get("/health").status, 200);
        assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    }
    let mut answer = Vec::new();
    let _end = held[0].set_read_timeout(Some(Duration::from_millis(200)));
    let _read = held[0].read_to_end(&mut answer);
    assert!(http2_frames(&answer).count() > 0);
    host.stop();
}

#[test]
fn silent_connections_do_not_keep_the_operator_out() {
    let token = "canary-of-the-admin-token";
    let host = host("").config(&format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = {token:?}")).start();
    let address = host.admin_address();
    let silent = |number: usize| {
        let mut stream = TcpStream::connect(&address).unwrap();
        if number.is_multiple_of(2) {
            stream.write_all(b"GET /admin/v1/plugins HTTP/1.1\r\nhost:").unwrap();
        }
        stream
    };
    let mut held: Vec<TcpStream> = (0..100).map(silent).collect();
    for _ in 0..10 {
        let asked = Instant::now();
        let request = format!(
            "GET /admin/v1/plugins HTTP/1.1\r\nhost: {address}\r\nauthorization: {token}\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(host.admin_raw(request).status, 200);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        held.extend((0..64).map(silent));
    }
    // The oldest have made room.
    assert_eq!(closed(held.swap_remove(1)), "");
    host.stop();
}
