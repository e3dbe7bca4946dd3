//! Limits on what is inside of bodies, frames and peers' answers: nesting, compression, size.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use framex_host::base::{ErrorCode, RequestId};
use framex_host::wire::{self, Compression, KeyRing};
use framex_tests::{Answer, Daemon, DaemonBuilder, FaultyPeer, frames, http_answer, send, until};
use serde_json::json;

use super::{ECHO, check_serves, connect, frame, limited};

/// One that is not asked for again.
const BOOKS: &str = "misbehave.bookings.books";
const AUTO: Compression = Compression::Auto { bytes_min: 0 };

/// A host with a key for peers; `config` has dotted keys.
fn host(config: &str) -> DaemonBuilder {
    Daemon::builder().plugin("misbehave").config(&frames::rules(&[frames::SECRET])).config(config)
}

fn nested(levels: usize) -> String {
    format!("{{\"data\": {}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
}

fn post(host: &Daemon, content_type: &str, body: &[u8]) -> Answer {
    let url = format!("{}/api/v1/functions/{ECHO}", host.url());
    send("POST", &url, &[("content-type", content_type)], body)
}

/// A call with many zeroes, as a compressed frame.
fn of_zeroes(zeroes: usize) -> (RequestId, Vec<u8>) {
    let mut envelope = frames::envelope(ECHO, &json!({ "data": "" }));
    let mut packed = b"\x81\xa4data\xc6".to_vec();
    packed.extend(u32::try_from(zeroes).unwrap().to_be_bytes());
    packed.resize(packed.len() + zeroes, 0);
    envelope.arguments = packed.into();
    wire::seal_request(&frames::key(), frames::now_ms(), &envelope, AUTO)
}

fn compressed(host: &Daemon, zeroes: usize) -> Result<Bytes, (ErrorCode, String)> {
    let (id, frame) = of_zeroes(zeroes);
    let answer = frames::open(&frames::key(), id, &frames::post_frame(&host.url(), &frame));
    answer.outcome.map_err(|failure| (failure.code, failure.message))
}

#[test]
fn nesting_is_limited_as_configured() {
    let host = host("server.nesting_max = 4").start();
    let sentence = |answer: &Answer| answer.problem().2;
    // The function refuses what fits, because its argument is not a list of lists.
    let fits = sentence(&post(&host, "application/json", nested(4).as_bytes()));
    assert!(fits.contains("`data"), "{fits}");
    for levels in [5, 65, 127, 128, 100_000] {
        let refused = post(&host, "application/json", nested(levels).as_bytes());
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("invalid_argument")));
        assert!(sentence(&refused).contains("nested more than 4 levels deep"), "{}", sentence(&refused));
    }
    assert_eq!(limited(&host, "nesting"), 5.0);
    let packed = |levels: usize| [&b"\x81\xa4data"[..], &vec![0x91; levels - 1], b"\xc0"].concat();
    let fits = sentence(&post(&host, "application/msgpack", &packed(4)));
    assert!(fits.contains("`data"), "{fits}");
    for levels in [5, 100_000] {
        let refused = post(&host, "application/msgpack", &packed(levels));
        assert_eq!(sentence(&refused), "argument value is nested deeper than 4 levels");
    }
    assert_eq!(limited(&host, "nesting"), 7.0);
    let mut envelope = frames::envelope(ECHO, &json!({}));
    envelope.arguments = packed(5).into();
    let refused = frames::call_sealed(&host.url(), &frames::key(), &envelope).outcome.unwrap_err();
    assert_eq!(refused.message, "argument value is nested deeper than 4 levels");
    assert_eq!(limited(&host, "nesting"), 8.0);
    host.stop();
}

#[test]
fn a_compressed_frame_is_bounded_in_size_and_in_ratio() {
    let server = "server.expansion_max = 100\nserver.body_bytes_max = 1048576";
    let host = host(server).start();
    // Zeroes are about 250 times as long as their block.
    let (code, text) = compressed(&host, 500_000).unwrap_err();
    assert_eq!(code, ErrorCode::InvalidArgument);
    assert_eq!(text, "the compressed message claims more than 100 bytes for each of its own");
    assert_eq!((limited(&host, "expansion"), limited(&host, "uncompressed_size")), (1.0, 0.0));
    let (code, text) = compressed(&host, 8 << 20).unwrap_err();
    assert_eq!(code, ErrorCode::InvalidArgument);
    assert!(text.ends_with("bytes uncompressed, the limit is 1114112"), "{text}");
    assert_eq!((limited(&host, "expansion"), limited(&host, "uncompressed_size")), (1.0, 1.0));
    host.put_config(&format!("{}\nserver.body_bytes_max = 1048576", frames::rules(&[frames::SECRET])));
    assert_eq!(host.reload_host().status, 200);
    assert!(compressed(&host, 500_000).is_ok(), "lz4 alone never does more than 255");
    host.stop();
}

#[test]
fn a_compressed_frame_takes_the_memory_that_it_becomes() {
    let server =
        "server.body_memory_max = 4194304\nserver.in_flight_max = 1\nserver.call_timeout_ms = 600000";
    let host = host(server).start();
    let occupies = host.begin("misbehave.functions.sleeps", &json!({"ms": 600_000}));
    until("it runs", || host.metric("framex_calls_in_flight") == 1.0);
    // They wait for their place, decompressed.
    let waits = |_| {
        let mut stream = connect(&host);
        let (_, frame) = of_zeroes(1_200_000);
        let (kind, length) = (wire::CONTENT_TYPE, frame.len());
        let head = format!(
            "POST /api/v1/proxy/remote HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), &frame].concat()).unwrap();
        stream
    };
    let waiting: Vec<TcpStream> = (0..3).map(waits).collect();
    until("they wait", || host.metric("framex_calls_queued") == 3.0);
    let held = host.metric("framex_body_memory_bytes");
    assert!(held > 3_600_000.0 && held < 3_700_000.0, "{held} bytes are held");
    let (code, text) = compressed(&host, 1_200_000).unwrap_err();
    assert_eq!(code, ErrorCode::Overloaded);
    assert!(text.contains("body_memory_max"), "{text}");
    assert_eq!(limited(&host, "body_memory"), 1.0);
    drop((waiting, occupies));
    until("all was given back", || host.metric("framex_body_memory_bytes") == 0.0);
    assert!(compressed(&host, 1_200_000).is_ok());
}

/// A peer that answers every call with this number of zeroes.
fn answering(zeroes: usize, compression: Compression) -> FaultyPeer {
    let ring = KeyRing::new(vec![frames::key().into()]).unwrap();
    FaultyPeer::answering(move |body| {
        let opened = wire::open_request(&ring, BytesMut::from(body)).unwrap();
        let mut result = b"\xc6".to_vec();
        result.extend(u32::try_from(zeroes).unwrap().to_be_bytes());
        result.resize(result.len() + zeroes, 0);
        let envelope = frames::answer_by(frames::SCRIPTED, Ok(result.into()));
        let frame =
            wire::seal_response(&opened.key, opened.request_id, frames::now_ms(), &envelope, compression);
        http_answer("200 OK", &[("content-type", wire::CONTENT_TYPE)], &frame)
    })
}

#[test]
fn a_peers_answer_is_limited_and_says_in_the_metrics_by_what() {
    for (zeroes, compression, limit) in [
        (200_000, Compression::Never, "answer_size"),
        (200_000, AUTO, "uncompressed_size"),
        (60_000, AUTO, "expansion"),
    ] {
        let peer = answering(zeroes, compression);
        let url = peer.url();
        let host = host("server.expansion_max = 100")
            .config(&format!(
                "plugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.answer_bytes_max = 65536\n\
                 plugins.proxy.proxy_functions = {{ {url:?} = [{BOOKS:?}] }}"
            ))
            .start();
        let failed = host.call(BOOKS, &json!({}));
        assert_eq!((failed.status, &failed.json()["executed"]), (503, &json!(null)), "{limit}");
        for each in ["answer_size", "uncompressed_size", "expansion", "nesting"] {
            let name = format!("framex_peer_limits_reached_total{{peer=\"{url}\",limit=\"{each}\"}}");
            assert_eq!(host.metric(&name), f64::from(u8::from(each == limit)), "{each} for {limit}");
        }
        host.stop();
    }
    // An answer of a size that is taken, for comparison.
    let peer = answering(60_000, Compression::Never);
    let url = peer.url();
    let host = host("")
        .config(&format!(
            "plugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.proxy_functions = {{ {url:?} = [{BOOKS:?}] }}"
        ))
        .start();
    assert_eq!(host.call(BOOKS, &json!({})).status, 200);
    host.stop();
}

#[test]
fn heads_are_as_long_as_configured() {
    let host = host("server.header_bytes_max = 8192").start();
    let head = |bytes: usize| {
        format!(
            "GET /health HTTP/1.1\r\nhost: test\r\nconnection: close\r\nx-long: {}\r\n\r\n",
            "x".repeat(bytes)
        )
    };
    assert_eq!(host.raw(head(6000)).status, 200);
    assert_eq!(limited(&host, "header_size"), 0.0);
    assert_eq!(host.raw(head(9000)).status, 431);
    // It counts what broke a connection once that is closed.
    until("it is counted", || limited(&host, "header_size") == 1.0);
    host.stop();
}

#[test]
fn who_sends_all_before_reading_is_told_why_it_was_refused() {
    const BYTES: usize = 16 << 20;
    let host = host("").start();
    let body = vec![b'x'; BYTES];
    let post = |path: &str, framing: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n{framing}\r\n\r\n")
    };
    let path = format!("/api/v1/functions/{ECHO}");
    let length = format!("content-length: {BYTES}");
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{BYTES:x}");
    for (head, status) in [
        (post(&path, &length), 413),
        (post(&path, &chunked), 413),
        (post("/nowhere", &length), 404),
        ("GET /health HTTP/1.1\r\nhost: test\r\nx-long: ".to_owned(), 431),
    ] {
        // Panics if the connection breaks under what is sent.
        assert_eq!(host.raw([head.as_bytes(), &body].concat()).status, status, "{head}");
    }
    host.stop();
}

#[test]
fn a_refusal_over_http2_is_not_followed_by_a_reset() {
    let host = host("").start();
    let mut stream = connect(&host);
    // :method POST, :scheme http, :path and :authority written out (RFC 7541, appendix A and section 6.2).
    let head = [&[0x83, 0x86, 0x04, 8][..], b"/nowhere", &[0x41, 1, b'a']].concat();
    let begun = [frame(4, 0, 0, &[]), frame(1, 4, 1, &head)].concat();
    stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &begun].concat()).unwrap();
    // The body comes a little later than the host knows its answer.
    for _ in 0..20 {
        check_serves(&host);
    }
    let ping = frame(6, 0, 0, b"the end.");
    stream.write_all(&[frame(0, 1, 1, b"{}"), ping].concat()).unwrap();
    let (mut answer, mut ended) = (Vec::new(), 0);
    // The answer's head and body with END_STREAM, and the answer to the ping, after which a reset would have come.
    while ended < 2 {
        let mut some = [0; 4096];
        let read = stream.read(&mut some).expect("the host answers");
        assert!(read > 0, "the connection ends: {answer:?}");
        answer.extend(&some[..read]);
        ended = super::frames(&answer).filter(|(kind, _)| [0, 6].contains(kind)).count();
    }
    let kinds: Vec<u8> = super::frames(&answer).map(|(kind, _)| kind).collect();
    assert!(kinds.contains(&1) && !kinds.contains(&3), "{kinds:?}");
    // Nor does a client that does not say goodbye hold up the end.
    let begun = Instant::now();
    host.stop();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop(stream);
}
