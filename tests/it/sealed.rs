//! The sealed path against everything that may arrive at it.

mod clocks;
mod contents;
mod forgeries;
mod keys;
mod removed;
mod replays;
mod rotation;

use std::collections::BTreeMap;

use framex_host::base::Failure;
use framex_host::wire::{self, Compression, ResponseEnvelope};
use framex_tests::{Answer, Daemon, DaemonBuilder, frames, send};
use serde_json::json;

const DEMO: &str = "demo.some.example_func";

fn ada() -> serde_json::Value {
    json!({"id": 7, "user": {"id": 7, "name": "Ada"}})
}

/// Host `b` with the demo plugin and a generated secret.
fn host() -> Daemon {
    builder().start()
}

fn builder() -> DaemonBuilder {
    Daemon::builder()
        .config("host_id = \"b\"")
        .config(&frames::rules(&[frames::SECRET]))
        .plugin("demo")
        .plugin("misbehave")
}

/// The failure in a sealed answer of host `b`.
fn failure(answer: ResponseEnvelope) -> Failure {
    assert_eq!(&*answer.host_id, "b");
    *answer.outcome.expect_err("the call fails")
}

/// All of an answer that a sender could tell causes apart by.
fn visible(answer: &Answer) -> (u16, BTreeMap<String, String>, String) {
    let headers = answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
    (answer.status, headers, String::from_utf8_lossy(&answer.body).into_owned())
}

/// The one answer to what does not open.
fn check_unauthentic(host: &Daemon, what: &str, frame: &[u8]) {
    let (status, headers, body) = visible(&frames::post_frame(&host.url(), frame));
    let expected = json!({
        "type": "urn:framex:error:unauthenticated", "title": "Unauthorized", "status": 401,
        "detail": "this path needs a valid key", "code": "unauthenticated", "executed": false,
    });
    assert_eq!((status, serde_json::from_str(&body).ok()), (401, Some(expected)), "{what}");
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    assert_eq!(names, ["content-length", "content-type", "www-authenticate"], "{what}");
    assert_eq!(headers["content-type"], "application/problem+json", "{what}");
    assert_eq!(headers["www-authenticate"], "Bearer", "{what}");
}

#[test]
fn no_byte_of_a_frame_can_be_changed_and_none_is_told_from_another() {
    let host = host();
    let key = frames::key();
    let (id, good) = frames::seal(&key, &frames::envelope(DEMO, &ada()));
    const VERSION_AT: usize = 3;
    for position in (0..good.len()).filter(|position| *position != VERSION_AT) {
        let mut frame = good.clone();
        frame[position] ^= 1;
        check_unauthentic(&host, &format!("byte {position}"), &frame);
    }
    // None of that has used the frame up.
    let answer = frames::open(&key, id, &frames::post_frame(&host.url(), &good));
    assert_eq!(answer.outcome.map(|result| frames::result_json(&result)), Ok(json!("7: Ada")));
    host.stop();
}

#[test]
fn another_version_is_named_as_such() {
    let host = host();
    let (_, good) = frames::seal(&frames::key(), &frames::envelope(DEMO, &ada()));
    for version in [b'0', b'2', b'9'] {
        let mut frame = good.clone();
        frame[3] = version;
        for frame in [&frame[..], &frame[..4]] {
            let answer = frames::post_frame(&host.url(), frame);
            assert_eq!((answer.status, answer.header("x-framex-wire")), (400, Some("1")));
            assert_eq!(answer.json()["code"], "incompatible");
        }
    }
    for digit in [b'1' ^ 0x80, b'a', 0] {
        let mut frame = good.clone();
        frame[3] = digit;
        check_unauthentic(&host, "no digit", &frame);
    }
}

#[test]
fn what_is_cut_off_or_goes_on_does_not_open() {
    let host = host();
    let (_, good) = frames::seal(&frames::key(), &frames::envelope(DEMO, &ada()));
    for length in (0..64).step_by(5).chain(64..82).chain((82..good.len()).step_by(9)).chain([good.len() - 1])
    {
        check_unauthentic(&host, &format!("{length} bytes"), &good[..length]);
    }
    check_unauthentic(&host, "a byte more", &[&good[..], b"\0"].concat());
    check_unauthentic(&host, "twice", &[&good[..], &good].concat());
}

#[test]
fn flags_kinds_and_gaps_that_mean_nothing_do_not_open() {
    let host = host();
    let raw = frames::RawKeys::of(frames::SECRET);
    // Sealed with them, so that the tag is right.
    for flags in [2, 4, 0x80, 0x81] {
        check_unauthentic(&host, &format!("flags {flags:#x}"), &raw.seal(flags, [0, 0], b"\x97").1);
    }
    for zero in [[1, 0], [0, 1], [0xff, 0xff]] {
        check_unauthentic(&host, &format!("zero {zero:?}"), &raw.seal(0, zero, b"\x97").1);
    }
    let key = frames::key();
    let answer = ResponseEnvelope {
        host_id: "b".into(),
        outcome: Ok(rmp_serde::to_vec("result").unwrap().into()),
        extensions: Default::default(),
    };
    let (id, _) = frames::seal(&key, &frames::envelope(DEMO, &ada()));
    let response = wire::seal_response(&key, id, frames::now_ms(), &answer, Compression::Never);
    check_unauthentic(&host, "a response", &response);
    let mut disguised = response;
    disguised[4] = 1;
    check_unauthentic(&host, "a response that says it is a request", &disguised);
}

#[test]
fn other_types_sizes_and_methods_are_refused_before_anything_is_opened() {
    let host = Daemon::builder()
        .config(&frames::rules(&[frames::SECRET]))
        .config("server.body_bytes_max = 4096")
        .plugin("misbehave")
        .start();
    let url = format!("{}/api/v1/proxy/remote", host.url());
    let (_, good) = frames::seal(&frames::key(), &frames::envelope(DEMO, &ada()));
    for headers in [&[("content-type", "application/octet-stream")][..], &[("content-type", "")], &[]] {
        let answer = send("POST", &url, headers, &good);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (415, Some("invalid_argument")));
    }
    let answer = send("GET", &url, &[], b"");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    // Short enough to have been sent before the refusal comes.
    let answer = frames::post_frame(&host.url(), &vec![0; 4096 + (64 << 10) + 64 + 16 + 1]);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("invalid_argument")));
}

#[test]
fn a_frame_around_the_largest_arguments_fits() {
    let host = Daemon::builder()
        .config(&frames::rules(&[frames::SECRET]))
        .config("server.body_bytes_max = 4096")
        .plugin("misbehave")
        .start();
    let arguments = json!({"text": "x".repeat(4087)});
    let envelope = frames::envelope("misbehave.functions.logs", &arguments);
    assert_eq!(envelope.arguments.len(), 4096);
    let answer = frames::call_sealed(&host.url(), &frames::key(), &envelope);
    assert!(answer.outcome.is_ok(), "{:?}", answer.outcome);
}
