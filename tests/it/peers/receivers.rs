//! Frames are bound to their receiver: what happens to copies of them, on their way and at their end.
//!
//! The attacker on the path has no key, sees every frame, and may send it anywhere, in any order, any number of times.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use framex_host::base::{ErrorCode, InstanceId};
use framex_host::wire::{self, Compression, RequestEnvelope};
use framex_tests::{Daemon, FaultyPeer, FreeAddress, frames, http_answer, until};
use serde_json::json;

use super::{FUNCTION, TRACE, call, check_failed, host, runs};

/// Passes a frame on, and returns the answer as it came.
fn pass(frame: &[u8], to: &str) -> Vec<u8> {
    pass_with(frame, to, "keep-alive")
}

/// The same; `connection` says whether the sender may use its connection again.
fn pass_with(frame: &[u8], to: &str, connection: &str) -> Vec<u8> {
    let answer = frames::post_frame(to, frame);
    let kind = answer.header("content-type").unwrap_or_default().to_owned();
    let status = if answer.status == 200 { "200 OK" } else { "502 Bad Gateway" };
    http_answer(status, &[("content-type", &kind), ("connection", connection)], &answer.body)
}

/// An attacker on the path to `target` who passes hellos on; `call` decides about each call.
fn on_the_way(target: &str, call: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> FaultyPeer {
    let target = target.to_owned();
    FaultyPeer::answering(move |frame| if is_hello(frame) { pass(frame, &target) } else { call(frame) })
        .knows_no_hellos()
}

fn is_hello(frame: &[u8]) -> bool {
    frames::greeting(frame).is_some()
}

/// The instance of a host, as it says in a hello.
fn instance_of(host: &Daemon) -> InstanceId {
    let own = framex_host::base::Identity::new("asks".into());
    let answer = frames::call_sealed(&host.url(), &frames::key(), &RequestEnvelope::hello(&own, 1000));
    assert!(answer.outcome.is_ok() && answer.extensions.now_ms.is_some(), "{answer:?}");
    answer.extensions.by.expect("it says who it is").instance
}

/// Returns how often [`FUNCTION`] ran on a host so far.
fn ran(host: &Daemon) -> usize {
    host.log().lines().filter(|line| line.contains(TRACE) && line.contains("an info")).count()
}

#[test]
fn a_call_whose_answer_is_swapped_for_that_of_another_host_is_not_made_again() {
    let (b, c) = (host("b", &[], FUNCTION).start(), host("c", &[], FUNCTION).start());
    // With the same key, and without the function.
    let d = Daemon::builder().config("host_id = \"d\"").config(&frames::rules(&[frames::SECRET])).start();
    for elsewhere in [&c, &d] {
        let (at_b, at_other) = (b.url(), elsewhere.url());
        let way = on_the_way(&at_b.clone(), move |frame| {
            drop(pass(frame, &at_b));
            pass(frame, &at_other)
        });
        let a =
            host("a", &[&way.url(), &c.url()], FUNCTION).config("plugins.proxy.fallback = \"local\"").start();
        check_failed(&call(&a), 503, "unavailable", None);
        assert_eq!(runs(&a), 0, "it may have run");
        a.wait_for_log("another process answered");
    }
    assert_eq!((ran(&b), ran(&c)), (2, 0), "each call ran once, where it was made for");
}

#[test]
fn a_copy_that_is_sent_to_the_sender_does_not_make_a_peer_this_host() {
    let b = host("b", &[], FUNCTION).start();
    let at_a = FreeAddress::find();
    let attacks = Arc::new(AtomicUsize::new(0));
    let (at_b, home, count) = (b.url(), at_a.url(), Arc::clone(&attacks));
    let way = on_the_way(&at_b.clone(), move |frame| match count.fetch_add(1, Ordering::SeqCst) {
        // The call that the host makes comes back to its own door, and its own answer to it.
        0 => pass(frame, &home),
        _ => pass(frame, &at_b),
    });
    let a = host("a", &[&way.url()], FUNCTION).listen(at_a).start();
    check_failed(&call(&a), 503, "unavailable", None);
    for _ in 0..3 {
        let served = call(&a);
        assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("b")));
    }
    assert_eq!((runs(&a), ran(&b)), (0, 3));
}

#[test]
fn a_url_that_was_another_host_never_becomes_this_one() {
    let b = host("b", &[], FUNCTION).start();
    let at_a = FreeAddress::find();
    let is_hostile = Arc::new(AtomicUsize::new(0));
    let (at_b, home, hostile) = (b.url(), at_a.url(), Arc::clone(&is_hostile));
    // All of it is led to the host that sends it, hellos as well.
    let way = FaultyPeer::start(move |conversation| {
        while let Some(frame) = conversation.request() {
            let is_hostile = hostile.load(Ordering::SeqCst) > 0;
            // So that the next call says hello.
            let is_last = is_hostile || !is_hello(&frame);
            let connection = if is_last { "close" } else { "keep-alive" };
            conversation.send(&pass_with(&frame, if is_hostile { &home } else { &at_b }, connection));
            if is_last {
                return;
            }
        }
    })
    .knows_no_hellos();
    let a = host("a", &[&way.url()], FUNCTION).listen(at_a).start();
    assert_eq!(call(&a).header("x-framex-served-by"), Some("b"));
    is_hostile.store(1, Ordering::SeqCst);
    check_failed(&call(&a), 503, "unavailable", Some(false));
    is_hostile.store(0, Ordering::SeqCst);
    until("the way is clean again", || call(&a).header("x-framex-served-by") == Some("b"));
    assert_eq!(runs(&a), 0);
    assert!(a.log().contains("was another one before"), "{}", a.log());
}

#[test]
fn a_url_leads_back_to_this_host_for_as_long_as_it_does() {
    let b = host("b", &[], FUNCTION).start();
    let at_a = FreeAddress::find();
    let to_b = Arc::new(AtomicUsize::new(0));
    let (at_b, home, turned) = (b.url(), at_a.url(), Arc::clone(&to_b));
    let way = FaultyPeer::answering(move |frame| {
        pass(frame, if turned.load(Ordering::SeqCst) > 0 { &at_b } else { &home })
    })
    .knows_no_hellos();
    let a = host("a", &[&way.url()], FUNCTION).listen(at_a).start();
    assert_eq!(call(&a).header("x-framex-served-by"), Some("a"));
    a.wait_for_log("leads back to this very host");
    to_b.store(1, Ordering::SeqCst);
    until("it is noticed that it no longer does", || call(&a).header("x-framex-served-by") == Some("b"));
}

#[test]
fn a_frame_for_an_earlier_life_runs_in_no_later_one() {
    let at_b = FreeAddress::find();
    let b = host("b", &[], FUNCTION).listen(at_b).start();
    let key = frames::key();
    let mut envelope = frames::envelope(FUNCTION, &json!({ "text": TRACE }));
    envelope.extensions.to = Some(instance_of(&b));
    // Stamped a little ahead, by a sender whose clock is, so that it is fresh after the restart.
    let seal =
        |ahead_ms| wire::seal_request(&key, frames::now_ms() + ahead_ms, &envelope, Compression::Never);
    let (id, frame) = seal(5000);
    assert!(frames::open(&key, id, &frames::post_frame(&b.url(), &frame)).outcome.is_ok());
    let (other_id, other) = seal(5000);
    b.stop();
    let b = host("b", &[], FUNCTION).listen(at_b).start();
    for (id, frame) in [(id, frame), (other_id, other)] {
        let answer = frames::open(&key, id, &frames::post_frame(&b.url(), &frame));
        let failure = answer.outcome.unwrap_err();
        assert_eq!((failure.code, failure.executed.known()), (ErrorCode::Misdirected, Some(false)));
        assert_eq!(answer.extensions.by.expect("it says who it is").instance, instance_of(&b));
    }
    assert_eq!(runs(&b), 0);
}

#[test]
fn a_balancer_that_changes_hosts_within_a_connection_is_named_and_has_a_way_out() {
    let hosts = [host("b", &[], FUNCTION).start(), host("c", &[], FUNCTION).start()];
    let balancer = || {
        let (turn, urls) = (AtomicUsize::new(0), hosts.each_ref().map(Daemon::url));
        FaultyPeer::answering(move |frame| pass(frame, &urls[turn.fetch_add(1, Ordering::SeqCst) % 2]))
            .knows_no_hellos()
    };
    let strict = balancer();
    let a = host("a", &[&strict.url()], FUNCTION).start();
    // The hello went to one of them, the call to the other.
    check_failed(&call(&a), 503, "unavailable", None);
    a.wait_for_log("needs bind = false for this URL");
    let loose = balancer();
    let bind = format!("plugins.proxy.proxy_urls.\"{}\".bind = false", loose.url());
    let a = host("a", &[&loose.url()], FUNCTION).config(&bind).start();
    let mut served = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let answer = call(&a);
        assert_eq!(answer.status, 200, "{}", answer.json());
        served.extend(answer.header("x-framex-served-by").map(str::to_owned));
    }
    assert_eq!(served.len(), 2, "{served:?}");
}

#[test]
fn a_pinned_url_calls_no_other_host() {
    let (b, c) = (host("b", &[], FUNCTION).start(), host("c", &[], FUNCTION).start());
    let target = Arc::new(Mutex::new(c.url()));
    let led = Arc::clone(&target);
    let way = FaultyPeer::start(move |conversation| {
        while let Some(frame) = conversation.request() {
            let to = led.lock().expect("no script panics").clone();
            if !conversation.send(&pass(&frame, &to)) {
                return;
            }
        }
    })
    .knows_no_hellos();
    let pin = format!("plugins.proxy.proxy_urls.\"{}\".host_id = \"b\"", way.url());
    let a = host("a", &[&way.url()], FUNCTION).config(&pin).start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    a.wait_for_log("pinned to host `b`");
    assert_eq!(ran(&c), 0);
    *target.lock().unwrap() = b.url();
    until("the right host answers", || call(&a).header("x-framex-served-by") == Some("b"));
    let shown = a.admin_get(&format!("explain/{FUNCTION}")).json().to_string();
    assert!(shown.contains("pinned to host `b`") && shown.contains("not encrypted"), "{shown}");
}

#[test]
fn frames_without_a_receiver_are_refused_where_one_is_required() {
    let b = host("b", &[], FUNCTION).config("plugins.proxy.require_receiver = true").start();
    let envelope = frames::envelope(FUNCTION, &json!({ "text": TRACE }));
    let answer = frames::call_sealed(&b.url(), &frames::key(), &envelope);
    let failure = answer.outcome.unwrap_err();
    assert_eq!((failure.code, failure.executed.known()), (ErrorCode::Incompatible, Some(false)));
    assert!(failure.message.contains("require_receiver"), "{}", failure.message);
    // What hosts send names it.
    let a = host("a", &[&b.url()], FUNCTION).start();
    assert_eq!(call(&a).header("x-framex-served-by"), Some("b"));
    assert_eq!((runs(&a), runs(&b)), (0, 1));
}

/// A proxy that keeps its connections when the host behind it ends.
fn proxy(target: &FreeAddress) -> FaultyPeer {
    let target = target.url();
    FaultyPeer::answering(move |frame| pass(frame, &target)).knows_no_hellos()
}

#[test]
fn a_restart_behind_a_proxy_that_keeps_its_connections_fails_no_call() {
    let at_b = FreeAddress::find();
    let state = tempfile::tempdir().unwrap();
    let start = || {
        let state = format!("state_dir = \"{}\"", state.path().display());
        host("b", &[], FUNCTION).config(&state).listen(at_b).start()
    };
    let (mut b, proxy) = (start(), proxy(&at_b));
    let a = host("a", &[&proxy.url()], FUNCTION).start();
    for _ in 0..3 {
        let served = call(&a);
        assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("b")), "{}", a.log());
        b.stop();
        b = start();
    }
    let served = call(&a);
    assert_eq!(served.status, 200, "{}", served.json());
    a.wait_for_log("was restarted behind its connection");
    assert_eq!(runs(&a), 0);
}

#[test]
fn a_host_that_cannot_prove_that_the_earlier_life_ended_makes_no_call_run_twice() {
    let at_b = FreeAddress::find();
    // Each with a state directory of its own.
    let start = || host("b", &[], FUNCTION).listen(at_b).start();
    let (b, proxy) = (start(), proxy(&at_b));
    let a = host("a", &[&proxy.url()], FUNCTION).start();
    assert_eq!(call(&a).status, 200);
    b.stop();
    let b = start();
    check_failed(&call(&a), 503, "unavailable", None);
    assert_eq!(call(&a).header("x-framex-served-by"), Some("b"));
    assert_eq!((runs(&a), runs(&b)), (0, 1));
}

/// A host of the build before is called as before, and calls as before.
#[test]
fn hosts_from_before_and_of_now_call_each_other() {
    let old = host("old", &[], FUNCTION).older().start();
    let new = host("new", &[], FUNCTION).start();
    let to_old = host("a", &[&old.url()], FUNCTION).start();
    let from_old = host("b", &[&new.url()], FUNCTION).older().start();
    for _ in 0..3 {
        assert_eq!(call(&to_old).header("x-framex-served-by"), Some("old"));
        assert_eq!(call(&from_old).header("x-framex-served-by"), Some("new"));
    }
    let lines = to_old.log().lines().filter(|line| line.contains("does not say who it is")).count();
    assert_eq!(lines, 1, "it is logged once: {}", to_old.log());
    // What fails there fails the same: refused before it ran, or by the function.
    let missing = host("a", &[&old.url()], "misbehave.functions.missing").start();
    check_failed(&missing.call("misbehave.functions.missing", &json!({})), 404, "not_found", Some(false));
    assert_eq!((ran(&to_old), ran(&from_old)), (0, 0));
    assert_eq!((runs(&old), runs(&new)), (3, 3));
}

#[test]
fn a_host_from_before_is_not_called_where_a_receiver_is_required_and_calls_none() {
    let old = host("old", &[], FUNCTION).older().start();
    let strict = "plugins.proxy.require_receiver = true";
    let a = host("a", &[&old.url()], FUNCTION).config(strict).start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    a.wait_for_log("require_receiver");
    let new = host("new", &[], FUNCTION).config(strict).start();
    let from_old = host("b", &[&new.url()], FUNCTION).older().start();
    check_failed(&call(&from_old), 400, "incompatible", Some(false));
    assert_eq!((runs(&old), runs(&new)), (0, 0));
}

#[test]
fn a_url_that_was_bound_is_not_talked_down_to_a_host_from_before() {
    let at_b = FreeAddress::find();
    let b = host("b", &[], FUNCTION).listen(at_b).start();
    let a = host("a", &[&b.url()], FUNCTION).start();
    assert_eq!(call(&a).status, 200);
    b.stop();
    let old = host("b", &[], FUNCTION).older().listen(at_b).start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    assert_eq!(runs(&old), 0);
}
