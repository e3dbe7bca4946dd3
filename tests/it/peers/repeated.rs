//! Calls are retried only where time or another peer may help.

use std::time::{Duration, Instant};

use framex_host::base::{ErrorCode, Failure};
use framex_tests::{FaultyPeer, frames, http_answer};
use serde_json::json;

use super::balancing::{IDEMPOTENT, caller, server};
use super::{answer, authentic};

/// Much less than an idempotent call waits for a peer.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Peers are asked for nothing but calls.
const CALLS_ONLY: &str = "plugins.proxy.white_list = [\"/api/v1/proxy/remote\"]";

/// The only peer fails so: an idempotent call ends at once, after one attempt.
#[track_caller]
fn check_not_repeated(peer: &FaultyPeer, code: &str) {
    let a = caller(&[&peer.url()], CALLS_ONLY).start();
    let begun = Instant::now();
    let problem = a.call(IDEMPOTENT, &json!({})).json();
    assert_eq!(problem["code"], code, "{problem}");
    assert!(begun.elapsed() < AT_ONCE, "{code}: {:?}", begun.elapsed());
    assert_eq!(peer.requests(), 1, "{code}");
    // Nor does the call wait for the peer once it is paused for it.
    let begun = Instant::now();
    for _ in 0..10 {
        assert_ne!(a.call(IDEMPOTENT, &json!({})).status, 200);
    }
    assert!(begun.elapsed() < AT_ONCE, "{code}: {:?}", begun.elapsed());
}

#[test]
fn a_call_that_time_cannot_cure_is_not_retried() {
    for code in [
        ErrorCode::NotFound,
        ErrorCode::PermissionDenied,
        ErrorCode::InvalidArgument,
        ErrorCode::Incompatible,
    ] {
        let peer = authentic(move |_, _| answer(Err(Box::new(Failure::not_executed(code, "no")))));
        let told = if code == ErrorCode::PermissionDenied { "unavailable" } else { code.as_str() };
        check_not_repeated(&peer, told);
    }
    for status in ["401 Unauthorized", "404 Not Found", "413 Payload Too Large"] {
        check_not_repeated(&FaultyPeer::answering(move |_| http_answer(status, &[], b"{}")), "unavailable");
    }
    let version = FaultyPeer::answering(|_| http_answer("400 Bad Request", &[("x-framex-wire", "2")], b"{}"));
    check_not_repeated(&version, "unavailable");
    let junk = FaultyPeer::answering(|_| {
        http_answer("200 OK", &[("content-type", framex_host::wire::CONTENT_TYPE)], b"junk")
    });
    check_not_repeated(&junk, "unavailable");
}

#[test]
fn a_call_that_time_can_cure_is_retried() {
    for code in [ErrorCode::Unavailable, ErrorCode::Overloaded] {
        let peer = authentic(move |before, _| match before {
            0 => answer(Err(Box::new(Failure::not_executed(code, "not now")))),
            _ => super::success(),
        });
        let a = caller(&[&peer.url()], CALLS_ONLY).start();
        assert_eq!(a.call(IDEMPOTENT, &json!({})).status, 200);
        assert_eq!(peer.requests(), 2);
    }
}

#[test]
fn another_peer_is_asked_if_the_first_lacks_the_function() {
    let lacks = authentic(|_, _| answer(Err(Box::new(Failure::not_executed(ErrorCode::NotFound, "no")))));
    let refuses = FaultyPeer::answering(|_| http_answer("401 Unauthorized", &[], b"{}"));
    let good = server("good").start();
    let mut config = format!("{CALLS_ONLY}\n{}", frames::rules(&[frames::SECRET]));
    for (priority, url) in [lacks.url(), refuses.url(), good.url()].iter().enumerate() {
        config.push_str(&format!("\nplugins.proxy.proxy_urls.{url:?}.priority = {priority}\n"));
        config.push_str(&format!("plugins.proxy.proxy_functions.{url:?} = [{IDEMPOTENT:?}]\n"));
    }
    let a = framex_tests::Daemon::builder().config(&config).plugin("misbehave").start();
    let answer = a.call(IDEMPOTENT, &json!({}));
    assert_eq!((answer.status, answer.header("x-framex-served-by")), (200, Some("good")));
    assert_eq!((lacks.requests(), refuses.requests()), (1, 1));
}
