//! Calls within calls: as deep as is allowed, and no deeper, in every way in which a call can call.

use std::time::{Duration, Instant};

use framex_host::base::{DEPTH_MAX, ErrorCode};
use framex_tests::{Answer, Daemon, DaemonBuilder, FreeAddress, frames};
use serde_json::json;

/// A part of the 2 MiB that a thread has: chains must leave the rest to what authors have on the stack.
const STACK_BYTES_MAX: u64 = 512 << 10;

fn host() -> DaemonBuilder {
    Daemon::builder().plugin("misbehave").plugin("changing")
}

/// The call failed since its innermost one was refused, which did not run.
#[track_caller]
fn check_too_deep(answer: &Answer) {
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (508, "loop_detected"), "{detail}");
    assert!(detail.contains("is made within 64 others that all wait for it"), "{detail}");
    assert_eq!(answer.json()["executed"], true, "the outermost one ran");
}

#[track_caller]
fn check_alive(host: &Daemon) {
    assert_eq!(host.call("misbehave.nested.again", &json!({"depth": 1})).status, 200);
}

#[test]
fn a_chain_is_as_long_as_is_allowed_and_uses_a_part_of_each_stack() {
    let host = host().start();
    for function in ["misbehave.nested.again", "misbehave.nested.again_layered"] {
        let answer = host.call(function, &json!({"depth": DEPTH_MAX}));
        assert_eq!(answer.status, 200, "{:?}", answer.problem());
        let mut addresses: Vec<u64> = serde_json::from_value(answer.json()).unwrap();
        addresses.reverse();
        assert_eq!(addresses.len() as u64, DEPTH_MAX + 1);
        // Outermost first: deeper calls on one stack have lower addresses, and eight of them share one.
        let used: Vec<u64> =
            addresses.chunks(8).map(|stack| stack[0].saturating_sub(stack[stack.len() - 1])).collect();
        println!("{function}: bytes of stack for 7 calls within one: {used:?}");
        assert!(used.iter().all(|bytes| *bytes < STACK_BYTES_MAX), "{used:?}");
        assert!(used.iter().any(|bytes| *bytes > 0), "{addresses:?}");
        for depth in [DEPTH_MAX + 1, 300, 100_000] {
            check_too_deep(&host.call(function, &json!({"depth": depth})));
        }
    }
    host.stop();
}

#[test]
fn two_plugins_that_call_each_other_without_an_end_are_refused() {
    let host = host().start();
    assert_eq!(host.call("misbehave.nested.ping", &json!({"depth": DEPTH_MAX})).json(), json!(DEPTH_MAX));
    check_too_deep(&host.call("misbehave.nested.ping", &json!({"depth": 300})));
    check_too_deep(&host.call("changing.functions.pong", &json!({"depth": 301})));
    check_alive(&host);
    host.stop();
}

#[test]
fn a_blocking_function_goes_on_where_its_call_stands() {
    let host = host().start();
    assert_eq!(host.call("misbehave.nested.again_blocking", &json!({"depth": 20})).json(), json!(20));
    check_too_deep(&host.call("misbehave.nested.again_blocking", &json!({"depth": 300})));
    check_alive(&host);
    host.stop();
}

#[test]
fn calls_from_tasks_and_threads_of_a_plugin_end_as_well() {
    let host = host().start();
    for function in ["misbehave.nested.again_spawned", "misbehave.nested.again_on_threads"] {
        assert_eq!(host.call(function, &json!({"depth": 40})).json(), json!(40));
    }
    // Each begins anew, so it is their number that is bounded.
    let answer = host.call("misbehave.nested.again_spawned", &json!({"depth": 1_000_000}));
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (429, "overloaded"), "{detail}");
    assert!(detail.contains("makes 1024 calls from tasks or threads of its own"), "{detail}");
    check_alive(&host);
    host.stop();
}

#[test]
fn a_chain_goes_on_as_deep_as_it_is_on_the_next_host() {
    let (at_a, at_b) = (FreeAddress::find(), FreeAddress::find());
    let rules = frames::rules(&[frames::SECRET]);
    let far = |function: &str, url: &str| {
        format!(
            "{rules}\nplugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.proxy_functions.{url:?} = [{function:?}]\n"
        )
    };
    let a = host()
        .config(&far("changing.functions.pong", &at_b.url()))
        .config("host_id = \"a\"")
        .listen(at_a)
        .start();
    let b = host().config(&rules).config("host_id = \"b\"").listen(at_b).start();
    // `ping` here, the rest there, which calls itself on.
    assert_eq!(a.call("misbehave.nested.ping", &json!({"depth": 9})).json(), json!(9));
    check_too_deep(&a.call("misbehave.nested.ping", &json!({"depth": DEPTH_MAX + 1})));
    // The sender of a sealed call states its depth: the deepest allowed call cannot make another one.
    let sealed = |depth: u64, function: &str| {
        let envelope = framex_host::wire::RequestEnvelope {
            extensions: framex_host::wire::RequestExtensions { depth, ..Default::default() },
            ..frames::envelope(function, &json!({"depth": 1}))
        };
        frames::call_sealed(&b.url(), &frames::key(), &envelope).outcome
    };
    let again = "misbehave.nested.again";
    assert!(sealed(DEPTH_MAX - 1, again).is_ok());
    for (depth, executed) in [(DEPTH_MAX, true), (DEPTH_MAX + 1, false), (u64::MAX, false)] {
        let failure = sealed(depth, again).unwrap_err();
        assert_eq!(
            (failure.code, failure.executed.known()),
            (ErrorCode::LoopDetected, Some(executed)),
            "{failure}"
        );
    }
    check_alive(&b);
    a.stop();
    b.stop();
}

#[test]
fn a_caller_that_leaves_ends_a_deep_chain() {
    let host = host().start();
    let function = "misbehave.nested.sleeps_below";
    let held = host.begin(function, &json!({"depth": 40, "ms": 3_600_000}));
    let running = || host.metric(&format!("framex_function_calls_running{{function={function:?}}}"));
    framex_tests::until("all of the chain runs", || running() == 41.0);
    let left = Instant::now();
    drop(held);
    framex_tests::until("all of it has ended", || running() == 0.0);
    assert!(left.elapsed() < Duration::from_secs(10), "{:?}", left.elapsed());
    host.stop();
}
