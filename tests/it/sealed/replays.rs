//! Frames that were here before, or that a clock somewhere makes look so.

use framex_host::base::ErrorCode;
use framex_host::wire::{self, Compression};
use framex_tests::frames;
use serde_json::json;

use super::{DEMO, ada, failure, host};

#[test]
fn a_frame_is_served_once() {
    let host = host();
    let key = frames::key();
    let (id, frame) =
        frames::seal(&key, &frames::envelope("misbehave.functions.logs", &json!({"text": "once"})));
    let first = frames::open(&key, id, &frames::post_frame(&host.url(), &frame));
    assert!(first.outcome.is_ok(), "{:?}", first.outcome);
    for _ in 0..3 {
        let again = frames::open(&key, id, &frames::post_frame(&host.url(), &frame));
        assert_eq!(again.clock_hint, None, "sealing it again would run it twice");
        let failure = failure(again);
        assert_eq!((failure.code, failure.executed), (ErrorCode::Replayed, None));
    }
    assert_eq!(host.call("misbehave.functions.logs", &json!({"text": "the end"})).status, 200);
    host.wait_for_log("the end");
    let lines = host.log().lines().filter(|line| line.contains("once") && line.contains("an info")).count();
    assert_eq!(lines, 1, "{}", host.log());
}

#[test]
fn a_frame_of_another_time_is_refused_with_the_clock_to_use() {
    let host = host();
    let key = frames::key();
    let envelope = frames::envelope(DEMO, &ada());
    let now = frames::now_ms();
    // Hours off, and by a little more than the window.
    for sent_at_ms in [0, now - 3_600_000, now - 40_000, now + 70_000, now + 3_600_000, u64::MAX] {
        let (id, frame) = wire::seal_request(&key, sent_at_ms, &envelope, Compression::Never);
        let answer = frames::open(&key, id, &frames::post_frame(&host.url(), &frame));
        let hint = answer.clock_hint.expect("the sender learns the time").now_ms;
        assert!(hint.abs_diff(frames::now_ms()) < 30_000, "{hint}");
        let failure = failure(answer);
        assert_eq!((failure.code, failure.executed), (ErrorCode::Replayed, Some(false)));
        // Which is enough to be served.
        let (id, frame) = wire::seal_request(&key, hint, &envelope, Compression::Never);
        let answer = frames::open(&key, id, &frames::post_frame(&host.url(), &frame));
        assert!(answer.outcome.is_ok(), "{:?}", answer.outcome);
    }
}

#[test]
fn a_frame_from_before_the_start_is_refused_though_it_is_young() {
    let key = frames::key();
    let envelope = frames::envelope(DEMO, &ada());
    let (id, before) = frames::seal(&key, &envelope);
    let host = host();
    let answer = frames::open(&key, id, &frames::post_frame(&host.url(), &before));
    assert!(answer.clock_hint.is_some());
    let refused = failure(answer);
    assert_eq!((refused.code, refused.executed), (ErrorCode::Replayed, Some(false)));
    assert!(frames::call_sealed(&host.url(), &key, &envelope).outcome.is_ok());
}
