//! A peer that comes back: calls that did not run wait for it, as long as they may.

use std::time::{Duration, Instant};

use framex_tests::{Daemon, until};
use serde_json::json;

use super::{
    AT_ONCE, IDEMPOTENT, ONCE, away, begin, check_local_calls, check_refused, host, limits_reached,
    metric_of, server,
};

/// Makes calls until the peer is paused.
fn open_breaker(host: &Daemon, function: &str) {
    let is_left_alone = || host.admin_get("peers").json()["peers"][0]["health"] == json!("paused");
    until("the peer is paused", || {
        is_left_alone() || host.call_within(function, &json!({}), 200).status != 200 && is_left_alone()
    });
}

#[test]
fn calls_that_did_not_run_wait_for_a_peer_that_comes_back_idempotent_or_not() {
    for function in [ONCE, IDEMPOTENT] {
        let (at, url) = away();
        // Time enough on a machine that has much else to do.
        let a = host(&[(&url, &[function])], "plugins.proxy.wait_ms = 30000").start();
        open_breaker(&a, function);
        let waiting = begin(&a, function, 6);
        until("calls wait", || metric_of(&a, "calls_waiting", &url) >= 6.0);
        let b = server("b").listen(at).start();
        let mut numbers: Vec<u64> = waiting
            .into_iter()
            .map(|call| {
                let answer = call.answer();
                assert_eq!(answer.status, 200, "{:?}", answer.problem());
                answer.json().as_u64().unwrap()
            })
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6], "each ran once");
        a.stop();
        b.stop();
    }
}

#[test]
fn waiting_ends_after_the_time_that_the_config_says() {
    let (_at, url) = away();
    let a = host(&[(&url, &[ONCE, IDEMPOTENT])], "plugins.proxy.wait_ms = 700").start();
    for function in [ONCE, IDEMPOTENT] {
        let begun = Instant::now();
        check_refused(&a.call(function, &json!({})), 503, "unavailable", "peer");
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(600), "{took:?}: it did not wait");
        assert!(took < Duration::from_millis(700) + AT_ONCE, "{took:?}");
    }
    assert!(limits_reached(&a, &url, "wait_time") >= 1.0, "{}", a.metrics());
    a.stop();
}

#[test]
fn nothing_waits_where_the_config_says_so() {
    let (_at, url) = away();
    let a = host(&[(&url, &[ONCE, IDEMPOTENT])], "plugins.proxy.wait_ms = 0").start();
    let begun = Instant::now();
    for function in [ONCE, IDEMPOTENT].repeat(20) {
        check_refused(&a.call(function, &json!({})), 503, "unavailable", "peer");
    }
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    a.stop();
}

#[test]
fn a_peer_that_comes_and_goes_takes_no_call_of_this_host() {
    let (at, url) = away();
    let a = host(&[(&url, &[IDEMPOTENT])], super::NARROW).start();
    for _ in 0..3 {
        let calls = begin(&a, IDEMPOTENT, 20);
        check_local_calls(&a);
        let b = server("b").listen(at).start();
        until("it serves", || a.call(IDEMPOTENT, &json!({})).status == 200);
        check_local_calls(&a);
        b.stop();
        check_local_calls(&a);
        drop(calls);
    }
    a.stop();
}
