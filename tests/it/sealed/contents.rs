//! Authentic frames whose content is wrong, hostile, or at a limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use framex_host::base::{ErrorCode, HOPS_MAX};
use framex_tests::{Daemon, FaultyPeer, frames};
use serde_json::json;

use super::{DEMO, ada, failure, host};

/// A request envelope as raw MessagePack, with these bytes as the arguments.
fn raw_envelope(arguments: &[u8]) -> Vec<u8> {
    frames::RawKeys::request(DEMO, arguments)
}

/// Seals bytes that are not a request, and reads why they are refused.
fn check_refused(host: &Daemon, flags: u8, plaintext: &[u8], expected: &str) {
    let (id, frame) = frames::RawKeys::of(frames::SECRET).seal(flags, [0, 0], plaintext);
    let answer = frames::open(&frames::key(), id, &frames::post_frame(&host.url(), &frame));
    let failure = failure(answer);
    assert_eq!(
        (failure.code, failure.executed.known()),
        (ErrorCode::InvalidArgument, Some(false)),
        "{failure}"
    );
    assert!(failure.message.contains(expected), "{failure}");
}

#[test]
fn a_raw_envelope_is_one_that_is_served() {
    let host = host();
    let arguments = rmp_serde::to_vec_named(&ada()).unwrap();
    let (id, frame) = frames::RawKeys::of(frames::SECRET).seal(0, [0, 0], &raw_envelope(&arguments));
    let answer = frames::open(&frames::key(), id, &frames::post_frame(&host.url(), &frame));
    assert_eq!(answer.outcome.map(|result| frames::result_json(&result)), Ok(json!("7: Ada")));
}

#[test]
fn authentic_nonsense_is_refused_inside_a_sealed_answer() {
    let host = host();
    let nested = [&b"\x81\xa1a"[..], &[0x91; 100_000], b"\xc0"].concat();
    check_refused(&host, 0, &raw_envelope(&nested), "nested deeper than 64 levels");
    let extension = [&b"\xa1a"[..], &[0x91; 100_000], b"\xc0"].concat();
    let nested = [&raw_envelope(b"\x80")[..raw_envelope(b"\x80").len() - 1], b"\x81", &extension].concat();
    check_refused(&host, 0, &nested, "nested deeper than 64 levels");
    check_refused(&host, 0, &[&raw_envelope(b"\x80")[..], b"\xc0"].concat(), "belong to nothing");
    check_refused(&host, 0, &raw_envelope(b"\x80\xc0"), "belong to nothing");
    check_refused(&host, 0, &raw_envelope(b"\x93\x01\x02\x03"), "arguments is not a map");
    check_refused(&host, 0, &raw_envelope(b"\xdf\xff\xff\xff\xff"), "beyond the end");
    check_refused(&host, 0, &raw_envelope(b"\x82\xa1a\x01\xa1a\x02"), "more than once");
    check_refused(&host, 0, b"", "beyond the end");
    check_refused(&host, 0, b"\xc1", "0xc1");
    check_refused(&host, 0, b"\xdd\xff\xff\xff\xff", "beyond the end");
    check_refused(&host, 0, b"\x94\xa1b\xc3\xc4\x01\xc0\x80", "4 fields instead of 7");
    check_refused(&host, 0, &[&b"\x97\xdb\xff\xff\xff\xff"[..], b"demo"].concat(), "more than 255 bytes");
    check_refused(&host, 0, b"\x97\xa4a..b\xc4\x01\x80\x00\x90\xc0\xc0\x80", "function name");
    // And the host goes on.
    let answer = frames::call_sealed(&host.url(), &frames::key(), &frames::envelope(DEMO, &ada()));
    assert!(answer.outcome.is_ok());
    host.stop();
}

#[test]
fn claims_of_compressed_frames_are_not_believed() {
    let host = host();
    let before = host.resident_bytes_max();
    for claim in [u32::MAX, 1 << 30, 5 << 20] {
        let bomb = [&claim.to_le_bytes()[..], &[0xff; 4000]].concat();
        check_refused(&host, 1, &bomb, "the limit is");
    }
    // Within the limit, but more than so few bytes could ever hold, or not what they hold.
    check_refused(
        &host,
        1,
        &[&4_000_000_u32.to_le_bytes()[..], &[0xff; 100]].concat(),
        "more than 255 bytes for each",
    );
    for (claim, block) in [(1000_u32, &[0; 100][..]), (0, b"\x10a"), (2, b"\x10a")] {
        check_refused(&host, 1, &[&claim.to_le_bytes()[..], block].concat(), "of the length that it claims");
    }
    for short in [&b""[..], b"\x01", b"\x01\0\0"] {
        check_refused(&host, 1, short, "compressed message");
    }
    let grown = host.resident_bytes_max() - before;
    assert!(grown < 32 << 20, "the claims cost {grown} bytes");
}

#[test]
fn deadlines_count_from_the_arrival() {
    let host = host();
    let key = frames::key();
    for unlimited in [0, u64::MAX] {
        let mut envelope = frames::envelope("misbehave.functions.sleeps", &json!({"ms": 1}));
        envelope.remaining_ms = unlimited;
        let answer = frames::call_sealed(&host.url(), &key, &envelope);
        assert_eq!(answer.outcome.map(|result| frames::result_json(&result)), Ok(json!(1)));
    }
    let mut envelope = frames::envelope("misbehave.functions.sleeps", &json!({"ms": 600_000}));
    for tiny in [1, 50] {
        envelope.remaining_ms = tiny;
        let began = Instant::now();
        let failure = failure(frames::call_sealed(&host.url(), &key, &envelope));
        assert_eq!(failure.code, ErrorCode::DeadlineExceeded);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[test]
fn hops_are_bounded_and_circles_are_refused() {
    let elsewhere = FaultyPeer::start(|_| {});
    let url = elsewhere.url();
    let host = Daemon::builder()
        .config("host_id = \"b\"")
        .config(&frames::rules(&[frames::SECRET]))
        .config(&format!("plugins.proxy.proxy_urls = [\"{url}\"]"))
        .config(&format!("plugins.proxy.proxy_functions = {{ \"{url}\" = [\"elsewhere.f\"] }}"))
        .plugin("demo")
        .start();
    let call = |function: &str, hops: Vec<Arc<str>>| {
        let arguments = rmp_serde::to_vec_named(&ada()).unwrap();
        let envelope = framex_host::wire::RequestEnvelope {
            hops,
            arguments: Bytes::from(arguments),
            ..frames::envelope(function, &json!({}))
        };
        frames::call_sealed(&host.url(), &frames::key(), &envelope)
    };
    let hops = |count: usize| (0..count).map(|number| Arc::from(format!("h{number}"))).collect::<Vec<_>>();

    assert!(call(DEMO, hops(HOPS_MAX)).outcome.is_ok(), "it runs here, and goes no further");
    let refused = failure(call(DEMO, hops(HOPS_MAX + 1)));
    assert_eq!((refused.code, refused.executed.known()), (ErrorCode::InvalidArgument, Some(false)));
    let refused = failure(call("elsewhere.f", hops(HOPS_MAX)));
    assert_eq!((refused.code, refused.executed.known()), (ErrorCode::LoopDetected, Some(false)));
    let mut circle = hops(2);
    circle.insert(1, "b".into());
    let refused = failure(call(DEMO, circle));
    assert_eq!((refused.code, refused.executed.known()), (ErrorCode::LoopDetected, Some(false)));
    assert!(refused.message.contains("h0 to b to h1 to b"), "{refused}");
    assert_eq!(elsewhere.requests(), 0);
}

#[test]
fn every_failure_of_a_call_is_sealed() {
    let host = host();
    for (function, arguments, code, executed) in [
        ("no.such.function", json!({}), ErrorCode::NotFound, Some(false)),
        (DEMO, json!({}), ErrorCode::InvalidArgument, Some(false)),
        ("misbehave.functions.panics", json!({"message": "x"}), ErrorCode::Panic, Some(true)),
        ("misbehave.functions.fails", json!({"id": 1}), ErrorCode::Failed, Some(true)),
    ] {
        let envelope = frames::envelope(function, &arguments);
        let failure = failure(frames::call_sealed(&host.url(), &frames::key(), &envelope));
        assert_eq!((failure.code, failure.executed.known()), (code, executed), "{failure}");
    }
}
