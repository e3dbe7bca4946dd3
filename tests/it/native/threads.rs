//! Allocators and thread-locals: what a library binds to threads.

use framex_tests::{Daemon, until};
use serde_json::json;

use super::{check_works, host, reload, unload, zombies};

#[test]
fn a_plugin_with_mimalloc_is_checked_started_and_reloaded() {
    const BYTES: usize = 100_000;
    let builder = Daemon::builder().plugin("allocates");
    let checked = builder.run(&["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let host = builder.start();
    let call = || {
        let answer = host.call("allocates.functions.allocates", &json!({ "bytes": BYTES }));
        assert_eq!(answer.status, 200, "{}", host.log());
        assert_eq!(answer.json().as_str().map(str::len), Some(BYTES));
    };
    for _ in 0..30 {
        (0..4).for_each(|_| call());
        reload(&host, "allocates", 1);
    }
    call();
    assert_eq!(zombies(&host, "allocates"), [""; 0]);
    assert_eq!(host.mapped_copies().len(), 1);
    host.stop();
}

const ABORTED: &str = "a destructor of one of its thread-locals aborted, as a panic in one does";

#[test]
fn a_thread_local_that_panics_when_it_is_dropped_keeps_its_library_and_the_host_lives() {
    let host = Daemon::builder().plugin("hooks").start();
    let works = || {
        let answer = host.call("hooks.functions.works", &json!({}));
        assert_eq!((answer.status, answer.json()), (200, json!("works")), "{}", host.log());
    };
    for _ in 0..3 {
        for _ in 0..8 {
            assert_eq!(host.call("hooks.functions.panics_on_drop", &json!({})).json(), "left behind");
        }
        reload(&host, "hooks", 1);
        (0..8).for_each(|_| works());
    }
    let reasons = zombies(&host, "hooks");
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons.iter().all(|reason| reason.starts_with(ABORTED)), "{reasons:?}");
    // Also on threads that end, as all do with the host.
    assert_eq!(host.call("hooks.functions.panics_on_drop", &json!({})).json(), "left behind");
    host.stop();
}

#[test]
fn a_thread_local_of_on_start_that_panics_is_a_start_that_failed() {
    let host = Daemon::builder().plugin("hooks").config("plugins.hooks.does = [\"thread_local\"]").start();
    let failure = host.failure("hooks").unwrap_or_default();
    assert!(failure.starts_with(&format!("plugin `hooks` failed to start: {ABORTED}")), "{failure}");
    host.stop();
}

#[test]
fn threads_of_c_keep_their_library_mapped_as_long_as_they_run() {
    let host = host(&["thread"]).start();
    reload(&host, "native", 2);
    unload(&host, "native");
    let reasons = zombies(&host, "native");
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(
        reasons.iter().all(|reason| reason.contains("a thread of the plugin that still runs")),
        "{reasons:?}"
    );
    assert_eq!(host.get("/health").status, 200, "{}", host.log());
    host.stop();

    let host = super::host(&["thread_for_a_moment"]).start();
    until("what ran for a moment is gone", || {
        reload(&host, "native", 1);
        host.mapped_copies().len() == 1
    });
    check_works(&host);
    host.stop();
}

#[test]
fn unloading_with_nothing_left_behind_unmaps() {
    let host = Daemon::builder().plugin("hooks").start();
    assert_eq!(host.call("hooks.functions.works", &json!({})).json(), "works");
    unload(&host, "hooks");
    assert_eq!(zombies(&host, "hooks"), [""; 0]);
    assert_eq!(host.mapped_copies().len(), 0);
    host.stop();
}
