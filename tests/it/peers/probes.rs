//! Paused peers are asked whether they are ready, and get one call once they are.

use std::time::{Duration, Instant};

use framex_tests::{Daemon, DaemonBuilder, FaultyPeer, FreeAddress, frames, http_answer};
use serde_json::json;

use super::{FUNCTION, TRACE, call};

/// Host `a`, whose [`FUNCTION`] runs at `url`.
fn caller(url: &str, config: &str) -> DaemonBuilder {
    Daemon::builder()
        .config(&format!(
            "host_id = \"a\"\nplugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.proxy_functions.{url:?} = [{FUNCTION:?}]"
        ))
        .config(config)
        .config(&frames::rules(&[frames::SECRET]))
        .plugin("misbehave")
}

fn probes(host: &Daemon, url: &str, result: &str) -> f64 {
    host.metric(&format!("framex_peer_probes_total{{peer=\"{url}\",result=\"{result}\"}}"))
}

/// Returns how many calls were made to a peer, with any outcome.
fn attempts(host: &Daemon, url: &str) -> f64 {
    host.metric(&format!("framex_peer_call_seconds_count{{peer=\"{url}\"}}"))
}

/// Calls until enough calls found that the peer is still away, so that it is paused for long.
fn keep_calling(host: &Daemon, url: &str, times: f64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while attempts(host, url) < times {
        assert!(Instant::now() < deadline, "{}", host.metrics());
        assert_ne!(call(host).status, 200);
    }
}

fn last_probe(host: &Daemon) -> serde_json::Value {
    host.admin_get("peers").json()["peers"][0]["last_probe"]["result"].clone()
}

#[test]
fn a_peer_that_was_away_for_long_is_back_soon() {
    let at_b = FreeAddress::find();
    let url = at_b.url();
    let a = caller(&url, "").start();
    // 5 failures in a row, then one call after about 250, 500, 1000 and 2000 ms: it is paused for about 4 s now.
    keep_calling(&a, &url, 9.0);
    assert!(probes(&a, &url, "failed") >= 1.0, "{}", a.metrics());
    assert_eq!((probes(&a, &url, "ready"), last_probe(&a)), (0.0, json!("failed")));
    let b =
        Daemon::builder().config(&frames::rules(&[frames::SECRET])).plugin("misbehave").listen(at_b).start();
    let (before, begun) = (attempts(&a, &url), Instant::now());
    while probes(&a, &url, "ready") < 1.0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", a.metrics());
    }
    let took = begun.elapsed();
    // At most a pause and a probe: well below the 3 to 4 s that it would be paused otherwise.
    assert!(took < Duration::from_millis(2500), "{took:?}");
    assert_eq!(attempts(&a, &url), before, "nothing else found out");
    let explained = a.admin_get(&format!("explain/{FUNCTION}")).json()["because"].to_string();
    assert!(
        explained.contains("it said that it is ready") && explained.contains("the next call finds out"),
        "{explained}"
    );
    assert_eq!(call(&a).status, 200);
    assert_eq!(a.call(FUNCTION, &json!({"text": TRACE})).status, 200);
    assert_eq!(last_probe(&a), "ready");
    drop(b);
}

#[test]
fn a_ready_that_is_not_true_brings_one_call_at_a_time() {
    let liar = FaultyPeer::serving(|head, _| {
        let status = if head.starts_with("get /ready ") { "200 OK" } else { "502 Bad Gateway" };
        http_answer(status, &[("content-type", "text/html")], b"<html>hello</html>")
    });
    // Calls that do not wait, so that there are many.
    let a = caller(&liar.url(), "plugins.proxy.wait_ms = 0").start();
    let (begun, mut calls) = (Instant::now(), 0);
    while probes(&a, &liar.url(), "ready") < 3.0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", a.metrics());
        assert_eq!(call(&a).status, 503);
        calls += 1;
    }
    // 5 open it; after that one for each probe, and the trial calls of the breaker.
    let (seconds, made) = (begun.elapsed().as_secs_f64(), attempts(&a, &liar.url()));
    assert!(made < 5.0 + 3.0 + 4.0 + seconds, "{made} of {calls} calls in {seconds} s");
    assert!(calls > 50, "too few calls to judge by: {calls}");
}

#[test]
fn other_answers_than_200_change_nothing() {
    let busy = FaultyPeer::serving(|head, _| match head.starts_with("get /ready ") {
        true => http_answer("503 Service Unavailable", &[], b"{}"),
        false => http_answer("502 Bad Gateway", &[], b""),
    });
    let large = FaultyPeer::serving(|head, _| match head.starts_with("get /ready ") {
        true => http_answer("200 OK", &[], &[b' '; 65 * 1024]),
        false => http_answer("502 Bad Gateway", &[], b""),
    });
    for (peer, result) in [(&busy, "not_ready"), (&large, "failed")] {
        let a = caller(&peer.url(), "").start();
        let begun = Instant::now();
        while probes(&a, &peer.url(), result) < 2.0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", a.metrics());
            assert_eq!(call(&a).status, 503);
        }
        assert_eq!(probes(&a, &peer.url(), "ready"), 0.0);
        assert!(attempts(&a, &peer.url()) < 5.0 + 4.0 + begun.elapsed().as_secs_f64(), "{}", a.metrics());
        // Also while it is paused.
        a.stop();
    }
}

#[test]
fn no_peer_is_asked_that_the_config_does_not_allow_to_ask() {
    let peer = FaultyPeer::serving(|head, _| match head.starts_with("get ") {
        true => http_answer("200 OK", &[], b"{\"functions\": []}"),
        false => http_answer("502 Bad Gateway", &[], b""),
    });
    let a = caller(&peer.url(), "plugins.proxy.white_list = [\"/api/v1/*\"]").start();
    // Paused for 250, 500 and 1000 ms meanwhile, without a probe.
    keep_calling(&a, &peer.url(), 8.0);
    for result in ["ready", "not_ready", "failed"] {
        assert_eq!(probes(&a, &peer.url(), result), 0.0, "{result}");
    }
    assert!(last_probe(&a).is_null());
}
