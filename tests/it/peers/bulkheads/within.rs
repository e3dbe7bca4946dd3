//! The same where the calls to the peer are made within others: by plugins here, and for other hosts.

use std::time::Instant;

use framex_tests::{Daemon, Pending, until};
use serde_json::json;

use super::{
    AT_ONCE, IDEMPOTENT, NARROW, ONCE, begin, check_local_calls, hang, host, host_of, metric_of, server,
};

/// Runs here, and calls [`ONCE`], here or on a peer.
const ASKS: &str = "misbehave.nested.asks_count";

#[test]
fn functions_here_that_wait_for_a_hanging_peer_take_no_place_of_this_host() {
    let peers: Vec<Daemon> = ["b", "c", "d", "e", "f"].iter().map(|id| server(id).start()).collect();
    let urls: Vec<String> = peers.iter().map(Daemon::url).collect();
    let far: Vec<(&str, &[&str])> = urls.iter().map(|url| (url.as_str(), &[ONCE][..])).collect();
    let a = host(&far, NARROW).start();
    peers.iter().for_each(hang);
    let running = || urls.iter().map(|url| metric_of(&a, "calls_running", url)).sum::<f64>();
    let mut held: Vec<Pending> = begin(&a, "misbehave.nested.asks_count_spawned", 4);
    until("calls of the plugin's own are there", || running() == 4.0);
    // Twelve calls of one function are its part of the host.
    held.extend(begin(&a, ASKS, 12));
    until("all of them wait there", || running() == 16.0);
    check_local_calls(&a);
    let begun = Instant::now();
    let refused = a.call(ASKS, &json!({}));
    assert_eq!(refused.problem().1, "overloaded");
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    peers.iter().for_each(|peer| peer.signal("CONT"));
    for call in held {
        let answer = call.answer();
        assert_eq!(answer.status, 200, "{:?}", answer.problem());
    }
    until("all places are given back", || a.metric("framex_calls_in_flight") == 0.0);
    let statuses: Vec<u16> = begin(&a, ASKS, 12).into_iter().map(|call| call.answer().status).collect();
    assert_eq!(statuses, [200; 12]);
    a.stop();
}

#[test]
fn a_function_here_that_calls_a_dead_peer_ends_after_the_time_to_wait() {
    let gone = framex_tests::ClosedPort::take();
    let url = gone.url();
    let a = host(&[(&url, &[ONCE])], &format!("{NARROW}\nplugins.proxy.wait_ms = 1000")).start();
    let calls = begin(&a, ASKS, 40);
    until("some wait", || metric_of(&a, "calls_waiting", &url) >= 1.0);
    check_local_calls(&a);
    let begun = Instant::now();
    for call in calls {
        let answer = call.answer();
        assert!(
            matches!(answer.problem().1.as_str(), "unavailable" | "overloaded"),
            "{:?}",
            answer.problem()
        );
    }
    assert!(begun.elapsed() < AT_ONCE * 2, "{:?}", begun.elapsed());
    a.stop();
}

#[test]
fn a_host_between_two_serves_others_while_the_last_one_hangs() {
    let last = server("last").start();
    let between = host_of("between", &[(&last.url(), &[IDEMPOTENT])], NARROW).start();
    let far = "misbehave.functions.echo";
    let first = host(&[(&between.url(), &[IDEMPOTENT, far])], "").start();
    hang(&last);
    let held = begin(&first, IDEMPOTENT, 30);
    until("the last one has its part", || metric_of(&between, "calls_running", &last.url()) == 4.0);
    check_local_calls(&between);
    for _ in 0..20 {
        let answer = first.call(far, &json!({"data": "aGk="}));
        assert_eq!(answer.status, 200, "{:?}", answer.problem());
    }
    drop(held);
    last.signal("CONT");
    first.stop();
    between.stop();
}
