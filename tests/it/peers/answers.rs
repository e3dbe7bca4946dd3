//! Peers that hold the key, and answer what they should not; and peers whose clock is off.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use framex_host::base::{ErrorCode, Failure, InstanceId, Outcome, RequestId};
use framex_host::wire::{self, Compression, KeyRing, ResponseEnvelope};
use framex_tests::{FaultyPeer, frames, http_answer};
use serde_json::json;

use super::{FUNCTION, answer, authentic, call, check_failed, failure, host, runs, sealed, success};

const HOUR_MS: u64 = 3_600_000;

/// Returns a host's answer to a frame of another time, by a clock that shows `now_ms`.
fn stale(now_ms: u64) -> ResponseEnvelope {
    let refused = Failure::not_executed(ErrorCode::Replayed, "the frame was sealed too long ago");
    let mut answer = failure(refused);
    answer.extensions.now_ms = Some(now_ms);
    answer.extensions.retry = true;
    answer
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
    // Sealed with the right keys by an attacker who saw another call: for another id.
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

/// A peer that `answer`s hellos and calls alike; it is told how many requests came before.
fn from_the_first_byte(
    answer: impl Fn(usize, bool) -> ResponseEnvelope + Send + Sync + 'static,
) -> FaultyPeer {
    let count = AtomicUsize::new(0);
    let peer = FaultyPeer::answering(move |body| {
        let Some((opened, envelope)) = frames::open_request(body) else {
            return http_answer("401 Unauthorized", &[], b"");
        };
        let before = count.fetch_add(1, Ordering::SeqCst);
        opened.answer(&answer(before, envelope.extensions.hello.is_some()))
    });
    peer.knows_no_hellos()
}

#[test]
fn a_clock_that_is_off_costs_one_more_hello_once() {
    for off_ms in [HOUR_MS as i64, -(HOUR_MS as i64)] {
        let peer_now = move || frames::now_ms().saturating_add_signed(off_ms);
        let peer = from_the_first_byte(move |before, _| match before {
            0 => stale(peer_now()),
            _ => {
                let mut answer = success();
                answer.extensions.now_ms = Some(peer_now());
                answer
            }
        });
        let a = host("a", &[&peer.url()], FUNCTION).start();
        assert_eq!(call(&a).status, 200);
        assert_eq!(peer.requests(), 3, "two hellos and the call");
        assert_eq!(call(&a).status, 200);
        assert_eq!(peer.requests(), 4, "the clock is known now");
        let stamps: Vec<u64> = peer.frames().iter().map(|frame| frames::sent_at_ms(frame)).collect();
        assert!(stamps[0].abs_diff(frames::now_ms()) < 30_000, "{stamps:?}");
        for stamp in &stamps[1..] {
            assert!(stamp.abs_diff(peer_now()) < 30_000, "{stamps:?}");
        }
        let ids: HashSet<Vec<u8>> = peer.frames().iter().map(|frame| frame[16..32].to_vec()).collect();
        assert_eq!(ids.len(), 4, "every frame has its own id");
        a.wait_for_log("the peer's clock differs");
        assert_eq!(runs(&a), 0);
    }
}

#[test]
fn a_peer_that_is_never_content_is_asked_twice_at_most_and_gets_no_call() {
    let clock = Arc::new(AtomicU64::new(1));
    let peer = from_the_first_byte(move |_, is_hello| {
        assert!(is_hello, "a call was sent");
        stale(clock.fetch_add(HOUR_MS, Ordering::SeqCst))
    });
    let a = host("a", &[&peer.url()], FUNCTION).start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    assert_eq!((runs(&a), peer.requests()), (0, 2));
}

#[test]
fn a_call_whose_stamp_is_refused_or_that_was_seen_is_not_sealed_again() {
    // Its copy may have run: between a hello and a call, no honest clock moves by half a minute.
    let seen = || failure(Failure::new(ErrorCode::Replayed, "the frame was received before"));
    for answer in [seen(), stale(frames::now_ms()), stale(1)] {
        let peer = authentic(move |_, _| answer.clone());
        let a = host("a", &[&peer.url()], FUNCTION).start();
        check_failed(&call(&a), 409, "replayed", None);
        assert_eq!((runs(&a), peer.requests()), (0, 1));
    }
}

#[test]
fn the_answer_of_another_process_proves_nothing() {
    let other = Some(InstanceId([9; 16]));
    for (by, outcome) in [
        (other, Ok(vec![0xc0].into())),
        (None, Ok(vec![0xc0].into())),
        (other, Err(Failure::not_executed(ErrorCode::NotFound, "not here"))),
        (None, Err(Failure::not_executed(ErrorCode::Overloaded, "an older host"))),
        (other, Err(Failure::not_executed(ErrorCode::Misdirected, "for another process"))),
        (other, Err(Failure::executed(ErrorCode::Failed, "it ran"))),
        (other, Err(Failure::not_executed(ErrorCode::LoopDetected, "a circle"))),
    ] {
        let outcome: Outcome = outcome.map_err(Box::new);
        let peer = authentic(move |_, _| {
            let mut answer = answer(outcome.clone());
            answer.extensions.by =
                answer.extensions.by.zip(by).map(|(by, instance)| wire::By { instance, ..by });
            answer
        });
        let a = host("a", &[&peer.url()], FUNCTION).config("plugins.proxy.fallback = \"local\"").start();
        check_failed(&call(&a), 503, "unavailable", None);
        assert_eq!((runs(&a), peer.requests()), (0, 1), "it was not made again, nor here");
        a.wait_for_log("another process answered");
    }
}

#[test]
fn a_peer_that_claims_to_be_the_sender_gets_no_call_and_sends_none_home() {
    let peer = FaultyPeer::answering(|body| {
        let (opened, envelope) = frames::open_request(body).expect("the host seals");
        // All that it was told: the id of the sender's host, and its instance.
        let instance = envelope.extensions.hello.expect("a hello comes first");
        let mut answer = frames::answer_by(instance, Ok(vec![0xc0].into()));
        answer.host_id = envelope.hops[0].clone();
        answer.extensions.by = Some(wire::By { host_id: envelope.hops[0].clone(), instance });
        opened.answer(&answer)
    })
    .knows_no_hellos();
    let a = host("a", &[&peer.url()], FUNCTION).start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    assert_eq!(runs(&a), 0);
    a.wait_for_log("claims to be this very process");
}

#[test]
fn an_unknown_code_is_an_internal_failure() {
    // A code of a later version, written as it would be on the wire.
    let failed = b"\x94\xa8scripted\xc2\x83\xa4code\xa9brand_new\xa7message\xa3new\xa8executed\xc3";
    let by = [&b"\x81\xa2by\x92\xa8scripted\xc4\x10"[..], &frames::SCRIPTED.0].concat();
    let raw = [&failed[..], &by].concat();
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
