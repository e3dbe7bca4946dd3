//! Frames that were here before, or that a clock somewhere makes look so.

use std::sync::Mutex;

use framex_host::base::{ErrorCode, RequestId};
use framex_host::wire::{self, Compression};
use framex_tests::{Daemon, FaultyPeer, WallClock, frames, http_answer};
use serde_json::json;

use super::{DEMO, ada, builder, check_unauthentic, failure, host};

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
        assert!(!again.extensions.retry, "sealing it again would run it twice");
        let failure = failure(again);
        assert_eq!((failure.code, failure.executed.known()), (ErrorCode::Replayed, None));
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
    for sent_at_ms in [0, now - 3_600_000, now - 40_000, now + 20_000, now + 3_600_000, u64::MAX] {
        let (id, frame) = wire::seal_request(&key, sent_at_ms, &envelope, Compression::Never);
        let answer = frames::open(&key, id, &frames::post_frame(&host.url(), &frame));
        let hint = answer.extensions.now_ms.expect("the sender learns the time");
        assert!(hint.abs_diff(frames::now_ms()) < 30_000, "{hint}");
        let failure = failure(answer);
        assert_eq!((failure.code, failure.executed.known()), (ErrorCode::Replayed, Some(false)));
        // Which is enough to be served.
        let (id, frame) = wire::seal_request(&key, hint, &envelope, Compression::Never);
        let answer = frames::open(&key, id, &frames::post_frame(&host.url(), &frame));
        assert!(answer.outcome.is_ok(), "{:?}", answer.outcome);
    }
}

#[test]
fn a_frame_that_is_far_ahead_is_refused_sooner_than_one_that_is_late() {
    let host = host();
    let key = frames::key();
    for (ahead_ms, is_served) in [(0, true), (7000, true), (15_000, false), (25_000, false)] {
        let envelope = frames::envelope(DEMO, &ada());
        let (id, frame) =
            wire::seal_request(&key, frames::now_ms() + ahead_ms, &envelope, Compression::Never);
        let answer = frames::open(&key, id, &frames::post_frame(&host.url(), &frame));
        assert_eq!(answer.outcome.is_ok(), is_served, "{ahead_ms}: {:?}", answer.outcome);
        assert_eq!(!answer.extensions.retry, is_served, "the sender of {ahead_ms} learns the time");
    }
    host.stop();
}

/// As on a machine without a battery: each boot begins at the same time.
#[test]
fn a_clock_that_begins_anew_makes_no_frame_of_an_earlier_life_fresh() {
    let clock = WallClock::off_by(0);
    let mut host = builder().wall_clock(&clock).start();
    let key = frames::key();
    let envelope = || frames::envelope(COUNTS, &json!({}));
    let (mut id, mut frame) = frames::seal(&key, &envelope());
    assert!(frames::open(&key, id, &frames::post_frame(&host.url(), &frame)).outcome.is_ok());
    clock.set(-20);
    for crashes in [true, false] {
        if !crashes {
            host.signal("TERM");
            assert_eq!(host.wait(), Some(0));
        }
        host = host.start_again();
        host.wait_for_log("and this host has known a later time");
        let refused = frames::open(&key, id, &frames::post_frame(&host.url(), &frame));
        let hint = refused.extensions.now_ms.expect("the sender learns the time");
        let refused = failure(refused);
        assert_eq!((refused.code, refused.executed.known()), (ErrorCode::Replayed, Some(false)), "{refused}");
        assert_eq!(runs(&host), 0);
        // A peer that follows that clock is served.
        (id, frame) = wire::seal_request(&key, hint, &envelope(), Compression::Never);
        assert!(frames::open(&key, id, &frames::post_frame(&host.url(), &frame)).outcome.is_ok());
    }
    host.stop();
}

#[test]
fn a_frame_from_before_the_start_is_refused_though_it_is_young() {
    let key = frames::key();
    let envelope = frames::envelope(DEMO, &ada());
    let (id, before) = frames::seal(&key, &envelope);
    let host = host();
    let answer = frames::open(&key, id, &frames::post_frame(&host.url(), &before));
    assert!(answer.extensions.retry);
    let refused = failure(answer);
    assert_eq!((refused.code, refused.executed.known()), (ErrorCode::Replayed, Some(false)));
    assert!(frames::call_sealed(&host.url(), &key, &envelope).outcome.is_ok());
}

const COUNTS: &str = "misbehave.functions.counts";

/// Returns how often [`COUNTS`] ran on a host; ask once, this is a call of it.
fn runs(host: &Daemon) -> u64 {
    host.call(COUNTS, &json!({})).json().as_u64().expect("it answers a number") - 1
}

/// Posts a frame that was here before.
#[track_caller]
fn check_replayed(url: &str, id: RequestId, frame: &[u8], executed: Option<bool>) {
    let refused = failure(frames::open(&frames::key(), id, &frames::post_frame(url, frame)));
    assert_eq!((refused.code, refused.executed.known()), (ErrorCode::Replayed, executed), "{refused}");
}

#[test]
fn frames_in_another_order_are_served_once_each() {
    const FRAMES: usize = 24;
    let host = host();
    let (url, key) = (host.url(), frames::key());
    let sealed: Vec<_> =
        (0..FRAMES).map(|_| frames::seal(&key, &frames::envelope(COUNTS, &json!({})))).collect();
    // Not in the order in which they were sealed.
    for (id, frame) in sealed.iter().rev() {
        assert!(frames::open(&key, *id, &frames::post_frame(&url, frame)).outcome.is_ok());
    }
    std::thread::scope(|scope| {
        for begin in 0..4 {
            let (url, sealed) = (&url, &sealed);
            scope.spawn(move || {
                for (id, frame) in sealed.iter().cycle().skip(begin * 7).take(FRAMES) {
                    check_replayed(url, *id, frame, None);
                }
            });
        }
    });
    assert_eq!(runs(&host), FRAMES as u64);
    host.stop();
}

#[test]
fn a_frame_that_comes_many_times_at_once_is_served_once() {
    let host = host();
    let (url, key) = (host.url(), frames::key());
    for round in 0..20 {
        let (id, frame) = frames::seal(&key, &frames::envelope(COUNTS, &json!({})));
        let served = std::thread::scope(|scope| {
            let post = || frames::open(&key, id, &frames::post_frame(&url, &frame)).outcome.is_ok();
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(post)).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
        });
        assert_eq!(served, 1, "round {round}");
    }
    assert_eq!(runs(&host), 20);
    host.stop();
}

#[test]
fn a_restart_does_not_make_an_old_frame_new() {
    let mut host = host();
    let key = frames::key();
    let mut old: Vec<(RequestId, Vec<u8>)> = Vec::new();
    for life in 0..3 {
        for (id, frame) in &old {
            // Stamped before this life began, which is all that this life knows of it.
            check_replayed(&host.url(), *id, frame, Some(false));
        }
        let (id, frame) = frames::seal(&key, &frames::envelope(COUNTS, &json!({})));
        assert!(frames::open(&key, id, &frames::post_frame(&host.url(), &frame)).outcome.is_ok());
        check_replayed(&host.url(), id, &frame, None);
        old.push((id, frame));
        assert_eq!(runs(&host), 1, "life {life}");
        host = host.start_again();
    }
    host.stop();
}

#[test]
fn a_frame_that_comes_late_is_refused_by_the_clock() {
    let clock = WallClock::off_by(0);
    let host = builder().wall_clock(&clock).start();
    let key = frames::key();
    let (id, frame) = frames::seal(&key, &frames::envelope(COUNTS, &json!({})));
    assert!(frames::open(&key, id, &frames::post_frame(&host.url(), &frame)).outcome.is_ok());
    assert_eq!(runs(&host), 1);
    // Half a minute and a bit, an hour, years; and a host whose clock went back serves it no more either.
    for seconds in [40, 3600, 100_000_000, -3600] {
        clock.set(seconds);
        let later = builder().wall_clock(&clock).start();
        check_replayed(&later.url(), id, &frame, Some(false));
        assert_eq!(runs(&later), 0, "{seconds}");
    }
    host.stop();
}

#[test]
fn a_frame_for_one_host_does_not_open_on_another_with_a_key_of_its_own() {
    let b = host();
    let c = Daemon::builder()
        .config("host_id = \"c\"")
        .config(&frames::rules(&[frames::OTHER_SECRET]))
        .plugin("misbehave")
        .start();
    let (id, frame) = frames::seal(&frames::key(), &frames::envelope(COUNTS, &json!({})));
    check_unauthentic(&c, "a frame for another host", &frame);
    let answer = frames::post_frame(&b.url(), &frame);
    check_unauthentic(&c, "a frame that another host served", &frame);
    assert!(frames::open(&frames::key(), id, &answer).outcome.is_ok());
    // B's answer is not a request: not for C, not for B, and not with the kind changed.
    for kind in [2, 1] {
        let mut stolen = answer.body.clone();
        stolen[4] = kind;
        check_unauthentic(&b, "a response", &stolen);
        check_unauthentic(&c, "a response", &stolen);
    }
    assert_eq!((runs(&b), runs(&c)), (1, 0));
    b.stop();
    c.stop();
}

#[test]
fn the_answer_of_another_host_does_not_count() {
    // An attacker between A and B keeps B's answer and hands it over for the next call.
    let b = host();
    let url = b.url();
    let kept: Mutex<Option<Vec<u8>>> = Mutex::new(None);
    let thief = FaultyPeer::answering(move |frame| {
        let answer = frames::post_frame(&url, frame).body;
        // The hello is passed on as it is.
        if frames::greeting(frame).is_some() {
            return http_answer("200 OK", &[("content-type", wire::CONTENT_TYPE)], &answer);
        }
        let before = kept.lock().expect("no script panics").replace(answer.clone());
        http_answer("200 OK", &[("content-type", wire::CONTENT_TYPE)], &before.unwrap_or(answer))
    })
    .knows_no_hellos();
    let url = thief.url();
    let a = Daemon::builder()
        .config(&frames::rules(&[frames::SECRET]))
        .config(&format!("plugins.proxy.proxy_urls = [{url:?}]"))
        .config(&format!("plugins.proxy.proxy_functions = {{ {url:?} = [{COUNTS:?}] }}"))
        .start();
    assert_eq!(a.call(COUNTS, &json!({})).json(), json!(1));
    for _ in 0..3 {
        let refused = a.call(COUNTS, &json!({}));
        let (status, code, _) = refused.problem();
        assert_eq!((status, code.as_str()), (503, "unavailable"));
        assert_eq!(refused.json()["executed"], json!(null), "it ran, for all that A can know");
    }
    a.stop();
    b.stop();
}
