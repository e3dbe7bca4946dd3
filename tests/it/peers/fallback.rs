//! When a call goes on to the next peer, or runs here: only if it provably did not run before.

use framex_host::base::{ErrorCode, Failure};
use framex_tests::{Daemon, FaultyPeer, FreeAddress, http_answer, until};
use serde_json::json;

use super::balancing::IDEMPOTENT;
use super::{FUNCTION, authentic, call, call_within, check_failed, failure, host, runs, success};

fn with_fallback(url: &str) -> Daemon {
    host("a", &[url], FUNCTION).config("plugins.proxy.fallback = \"local\"").start()
}

#[test]
fn a_call_that_provably_did_not_run_runs_here() {
    let a = with_fallback(&FreeAddress::find().url());
    let served = call(&a);
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("a")));
    assert_eq!(runs(&a), 1);
    a.wait_for_log("fallback = ");

    for code in [ErrorCode::Overloaded, ErrorCode::Unavailable, ErrorCode::NotFound, ErrorCode::LoopDetected]
    {
        let peer = authentic(move |_, _| failure(Failure::not_executed(code, "not here")));
        let a = with_fallback(&peer.url());
        let served = call(&a);
        assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("a")), "{code}");
        assert_eq!((runs(&a), peer.requests()), (1, 1), "{code}");
    }
}

#[test]
fn a_call_that_may_have_run_does_not_run_here() {
    let answers = [
        Failure::new(ErrorCode::Unavailable, "it is unknown"),
        Failure::new(ErrorCode::Overloaded, "it is unknown"),
        Failure::executed(ErrorCode::Unavailable, "a call of its own failed"),
        Failure::executed(ErrorCode::Failed, "its own error"),
        Failure::executed(ErrorCode::NotFound, "a call of its own failed"),
        Failure::executed(ErrorCode::Panic, "panicked"),
        // Elsewhere they would fail in the same way.
        Failure::not_executed(ErrorCode::InvalidArgument, "wrong arguments"),
        Failure::not_executed(ErrorCode::PermissionDenied, "not you"),
        Failure::not_executed(ErrorCode::DeadlineExceeded, "too late"),
    ];
    for refusal in answers {
        let (code, executed) = (refusal.code, refusal.executed.known());
        let peer = authentic(move |_, _| failure(refusal.clone()));
        let a = with_fallback(&peer.url());
        let problem = call(&a).json();
        // The client is not concerned with what one host may ask of the other.
        let told = if code == ErrorCode::PermissionDenied { ErrorCode::Unavailable } else { code };
        assert_eq!((&problem["code"], &problem["executed"]), (&json!(told.as_str()), &json!(executed)));
        assert_eq!((runs(&a), peer.requests()), (0, 1), "{code}");
    }
}

#[test]
fn an_unusable_answer_does_not_make_it_run_here() {
    let html = http_answer("502 Bad Gateway", &[], b"<html>");
    let unauthorized = http_answer("401 Unauthorized", &[], b"{}");
    let peers = [
        FaultyPeer::start(|conversation| {
            conversation.request();
        }),
        FaultyPeer::start(|conversation| {
            conversation.request_without(1);
        }),
        FaultyPeer::answering(move |_| html.clone()),
        FaultyPeer::answering(move |_| unauthorized.clone()),
    ];
    for peer in &peers {
        let a = with_fallback(&peer.url());
        assert!(call(&a).status >= 401);
        assert_eq!((runs(&a), peer.requests()), (0, 1));
    }
    let silent = FaultyPeer::start(|conversation| {
        conversation.request();
        conversation.wait_for_close();
    });
    let a = with_fallback(&silent.url());
    check_failed(&call_within(&a, 200), 504, "deadline_exceeded", None);
    assert_eq!((runs(&a), silent.requests()), (0, 1));
}

#[test]
fn a_fallback_needs_the_function_here() {
    let url = FreeAddress::find().url();
    let a = host("a", &[&url], "no.such.function").config("plugins.proxy.fallback = \"local\"").start();
    check_failed(&a.call("no.such.function", &json!({})), 503, "unavailable", Some(false));
}

#[test]
fn the_next_peer_serves_if_the_first_is_dead() {
    let b = host("b", &[], FUNCTION).start();
    let a = host("a", &[&FreeAddress::find().url(), &b.url()], FUNCTION).start();
    let served = call(&a);
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("b")));
    assert_eq!((runs(&a), runs(&b)), (0, 1));
}

#[test]
fn the_next_peer_is_not_asked_if_the_first_may_have_run_it() {
    let first = FaultyPeer::start(|conversation| {
        conversation.request();
    });
    let second = authentic(|_, _| success());
    let a = host("a", &[&first.url(), &second.url()], FUNCTION).start();
    check_failed(&call(&a), 503, "unavailable", None);
    assert_eq!((first.requests(), second.requests(), runs(&a)), (1, 0, 0));
}

#[test]
fn the_last_failure_is_told_if_no_peer_serves() {
    let busy = authentic(|_, _| failure(Failure::not_executed(ErrorCode::Overloaded, "busy")));
    let a = host("a", &[&FreeAddress::find().url(), &busy.url()], FUNCTION).start();
    check_failed(&call(&a), 429, "overloaded", Some(false));
    assert_eq!((busy.requests(), runs(&a)), (1, 0));
}

/// A peer that takes each call and says nothing of it.
fn silent() -> FaultyPeer {
    FaultyPeer::start(|conversation| {
        conversation.request();
    })
}

#[test]
fn a_refusal_speaks_for_the_peers_that_were_asked_before_as_well() {
    let failed =
        || authentic(|_, _| failure(Failure::executed(ErrorCode::Unavailable, "a call of its own failed")));
    let firsts: [(&dyn Fn() -> FaultyPeer, Option<bool>); 2] = [(&silent, None), (&failed, Some(true))];
    for (first, executed) in firsts {
        for (code, status) in [
            (ErrorCode::DeadlineExceeded, 504),
            (ErrorCode::PermissionDenied, 503),
            (ErrorCode::InvalidArgument, 400),
        ] {
            let first = first();
            let second = authentic(move |_, _| failure(Failure::not_executed(code, "not here")));
            let a = host("a", &[&first.url(), &second.url()], IDEMPOTENT).start();
            let told = if status == 503 { ErrorCode::Unavailable } else { code };
            check_failed(&a.call(IDEMPOTENT, &json!({})), status, told.as_str(), executed);
            assert_eq!((first.requests(), second.requests()), (1, 1));
        }
    }
}

#[test]
fn a_refusal_by_the_body_here_speaks_for_the_peer_as_well() {
    let peer = authentic(|before, _| match before {
        0 => failure(Failure::not_executed(ErrorCode::LoopDetected, "not here")),
        _ => failure(Failure::new(ErrorCode::Unavailable, "it is unknown")),
    });
    let limits = format!(
        "plugins.misbehave.slow_ms = 600000\nlimits.functions.{IDEMPOTENT:?} = {{ in_flight_max = 1 }}"
    );
    let a = host("a", &[&peer.url()], IDEMPOTENT);
    let a = a.config("plugins.proxy.fallback = \"local\"").config(&limits).start();
    let headers = "x-framex-timeout-ms: 30000\r\n";
    let _held = a.begin_with(IDEMPOTENT, &json!({}), headers);
    let running = format!("framex_function_limit_running{{function={IDEMPOTENT:?}}}");
    until("it runs here", || a.metric(&running) == 1.0);
    let refused = a.call_within(IDEMPOTENT, &json!({}), 1_000);
    check_failed(&refused, 429, "overloaded", None);
}
