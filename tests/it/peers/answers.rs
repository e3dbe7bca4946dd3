//! Peers that hold the key, and answer what they should not; and peers whose clock is off.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use framex_host::base::{ErrorCode, Failure, Outcome, RequestId};
use framex_host::wire::{self, ClockHint, Compression, KeyRing, ResponseEnvelope};
use framex_tests::{FaultyPeer, frames};
use serde_json::json;

use super::{FUNCTION, answer, authentic, call, check_failed, failure, host, runs, sealed, success};

const HOUR_MS: u64 = 3_600_000;

/// What a host says to a frame of another time, by a clock that shows `now_ms`.
fn stale(now_ms: u64) -> ResponseEnvelope {
    let refused = Failure::not_executed(ErrorCode::Replayed, "the frame was sealed too long ago");
    ResponseEnvelope { clock_hint: Some(ClockHint { now_ms }), ..failure(refused) }
}

#[test]
fn an_authentic_answer_is_believed() {
    let peer = authentic(|_, _| success());
    let a = host("a", &[&peer.url()], FUNCTION).start();
    let served = call(&a);
    assert_eq!((served.status, served.json()), (200, json!(null)));
    assert_eq!(served.header("x-framex-served-by"), Some("scripted"));
    assert_eq!((runs(&a), peer.requests()), (0, 1));
}

#[test]
fn an_answer_to_another_call_is_not_taken() {
    // Sealed with the right keys by somebody who saw another call: for another id.
    let ring = KeyRing::new(vec![frames::key().into()]).unwrap();
    let peer = FaultyPeer::answering(move |body| {
        let opened = wire::open_request(&ring, BytesMut::from(body)).expect("the host seals");
        let frame = wire::seal_response(
            &opened.key,
            RequestId::random(),
            frames::now_ms(),
            &success(),
            Compression::Never,
        );
        sealed(&frame)
    });
    let a = host("a", &[&peer.url()], FUNCTION).start();
    check_failed(&call(&a), 503, "unavailable", None);
    assert_eq!((runs(&a), peer.requests()), (0, 1));
}

#[test]
fn an_answer_is_not_taken_twice_nor_a_request_sent_back() {
    let first: Mutex<Option<Vec<u8>>> = Mutex::new(None);
    let ring = KeyRing::new(vec![frames::key().into()]).unwrap();
    let peer = FaultyPeer::answering(move |body| {
        let mut first = first.lock().expect("no script panics");
        if let Some(frame) = &*first {
            return sealed(frame);
        }
        let opened = wire::open_request(&ring, BytesMut::from(body)).expect("the host seals");
        let frame = wire::seal_response(
            &opened.key,
            opened.request_id,
            frames::now_ms(),
            &success(),
            Compression::Never,
        );
        sealed(first.insert(frame))
    });
    let a = host("a", &[&peer.url()], FUNCTION).start();
    assert_eq!(call(&a).status, 200);
    check_failed(&call(&a), 503, "unavailable", None);
    assert_eq!(peer.requests(), 2);

    let mirror = FaultyPeer::answering(sealed);
    let a = host("a", &[&mirror.url()], FUNCTION).start();
    check_failed(&call(&a), 503, "unavailable", None);
    assert_eq!((runs(&a), mirror.requests()), (0, 1));
}

#[test]
fn an_answer_of_another_key_is_not_taken() {
    let ring = KeyRing::new(vec![frames::key().into()]).unwrap();
    let other = frames::key_of(frames::OTHER_SECRET);
    let peer = FaultyPeer::answering(move |body| {
        let opened = wire::open_request(&ring, BytesMut::from(body)).expect("the host seals");
        sealed(&wire::seal_response(
            &other,
            opened.request_id,
            frames::now_ms(),
            &success(),
            Compression::Never,
        ))
    });
    let a = host("a", &[&peer.url()], FUNCTION).start();
    check_failed(&call(&a), 503, "unavailable", None);
    assert_eq!((runs(&a), peer.requests()), (0, 1));
}

#[test]
fn a_clock_that_is_off_costs_one_more_request_once() {
    for off_ms in [HOUR_MS as i64, -(HOUR_MS as i64)] {
        let peer_now = move || frames::now_ms().saturating_add_signed(off_ms);
        let peer = authentic(move |before, _| if before == 0 { stale(peer_now()) } else { success() });
        let a = host("a", &[&peer.url()], FUNCTION).start();
        assert_eq!(call(&a).status, 200);
        assert_eq!(peer.requests(), 2, "sealed once more");
        assert_eq!(call(&a).status, 200);
        assert_eq!(peer.requests(), 3, "the clock is known now");
        let stamps: Vec<u64> = peer.frames().iter().map(|frame| frames::sent_at_ms(frame)).collect();
        assert!(stamps[0].abs_diff(frames::now_ms()) < 30_000, "{stamps:?}");
        for stamp in &stamps[1..] {
            assert!(stamp.abs_diff(peer_now()) < 30_000, "{stamps:?}");
        }
        let ids: Vec<Vec<u8>> = peer.frames().iter().map(|frame| frame[16..32].to_vec()).collect();
        assert!(ids[0] != ids[1] && ids[1] != ids[2], "every attempt has its own id");
        a.wait_for_log("refused our time stamp");
        assert_eq!(runs(&a), 0);
    }
}

#[test]
fn a_peer_that_is_never_content_is_asked_twice_at_most() {
    let clock = Arc::new(AtomicU64::new(1));
    let peer = authentic(move |_, _| stale(clock.fetch_add(HOUR_MS, Ordering::SeqCst)));
    let a = host("a", &[&peer.url()], FUNCTION).start();
    check_failed(&call(&a), 409, "replayed", Some(false));
    assert_eq!((runs(&a), peer.requests()), (0, 2));
}

#[test]
fn a_call_that_was_seen_before_is_not_sealed_again() {
    let peer = authentic(|_, _| failure(Failure::new(ErrorCode::Replayed, "the frame was received before")));
    let a = host("a", &[&peer.url()], FUNCTION).start();
    check_failed(&call(&a), 409, "replayed", None);
    assert_eq!((runs(&a), peer.requests()), (0, 1));
}

#[test]
fn only_a_refusal_can_ask_for_another_attempt() {
    let hint = Some(ClockHint { now_ms: 1 });
    for (status, outcome) in [
        (200, Ok(vec![0xc0].into())),
        (422, Err(Failure::executed(ErrorCode::Failed, "it ran"))),
        (409, Err(Failure::new(ErrorCode::Replayed, "it may have run"))),
        (403, Err(Failure::not_executed(ErrorCode::PermissionDenied, "not you"))),
    ] {
        let outcome: Outcome = outcome.map_err(Box::new);
        let peer = authentic(move |_, _| ResponseEnvelope { clock_hint: hint, ..answer(outcome.clone()) });
        let a = host("a", &[&peer.url()], FUNCTION).start();
        assert_eq!(call(&a).status, status);
        assert_eq!((runs(&a), peer.requests()), (0, 1), "{status}");
    }
}

#[test]
fn only_a_refused_circle_can_send_a_call_home() {
    for (status, outcome) in [
        (200, Ok(vec![0xc0].into())),
        (508, Err(Failure::executed(ErrorCode::LoopDetected, "it ran"))),
        (508, Err(Failure::not_executed(ErrorCode::LoopDetected, "another host says so"))),
    ] {
        let outcome: Outcome = outcome.map_err(Box::new);
        let peer = authentic(move |_, _| ResponseEnvelope { itself: true, ..answer(outcome.clone()) });
        let a = host("a", &[&peer.url()], FUNCTION).start();
        assert_eq!(call(&a).status, status);
        assert_eq!((runs(&a), peer.requests()), (0, 1), "it ran there, or nowhere");
    }
}

#[test]
fn a_code_that_nobody_knows_yet_is_an_internal_failure() {
    // A code of a later version, written as it would be on the wire.
    let raw = b"\x94\xa8scripted\xc2\x83\xa4code\xa9brand_new\xa7message\xa3new\xa8executed\xc3\x80".to_vec();
    let ring = KeyRing::new(vec![frames::key().into()]).unwrap();
    let keys = frames::RawKeys::of(frames::SECRET);
    let peer = FaultyPeer::answering(move |body| {
        let opened = wire::open_request(&ring, BytesMut::from(body)).expect("the host seals");
        sealed(&keys.seal_response(opened.request_id, &raw))
    });
    let a = host("a", &[&peer.url()], FUNCTION).start();
    let failed = call(&a);
    check_failed(&failed, 500, "internal", Some(true));
    assert!(failed.json()["detail"].as_str().is_some_and(|text| text.contains("brand_new")));
}
