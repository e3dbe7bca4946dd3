//! Calls that run while their plugin is replaced, and files that change under a running plugin.

use std::fs::{self, OpenOptions};

use framex_tests::{Build, Daemon, Pending, until};
use serde_json::json;

use super::load::Pair;
use super::{BUILD, WAITS, check_done, check_mapped, check_refused, check_serves, host};

/// A daemon, and a call of this number of milliseconds that has begun.
fn busy(config: &str, ms: u64) -> (Daemon, Pending) {
    let host = host().config(config).start();
    let call = host.begin(WAITS, &json!({ "ms": ms }));
    host.wait_for_log("begins to wait");
    (host, call)
}

#[test]
fn a_call_that_runs_across_a_reload_ends_on_the_old_code() {
    let (host, call) = busy("", 1500);
    host.put_build(Build::new(2));
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| host.reload("changing"));
        host.wait_for_log("\"generation\":2");
        check_serves(&host, Build::new(2));
        assert!(!reload.is_finished(), "the report comes when the old build is gone");
        assert_eq!(call.answer().json(), json!(["build-0001", "build-0001"]));
        let done = check_done(&reload.join().unwrap());
        assert_eq!(done["cancelled_calls"], 0);
    });
    assert!(!host.log().contains("dropped while it waits"), "{}", host.log());
    check_mapped(&host, 1);
}

#[test]
fn past_the_drain_deadline_a_call_is_dropped_and_told_so() {
    let (host, call) = busy("reload.drain_timeout_ms = 200", 600_000);
    let second = host.begin("changing.functions.build", &json!({ "ms": 600_000 }));
    // Both are in the plugin when it counts two.
    until("two calls run", || host.plugin_status("changing")["in_flight"] == 2);
    host.put_build(Build::new(2));
    let done = check_done(&host.reload("changing"));
    assert_eq!(done["cancelled_calls"], 2, "{done}");
    for call in [call, second] {
        let answer = call.answer();
        let (status, code, detail) = answer.problem();
        assert_eq!((status, code.as_str()), (503, "cancelled"), "{detail}");
        assert_eq!(answer.json()["executed"], true);
        assert!(detail.contains("its plugin was replaced"), "{detail}");
    }
    host.wait_for_log("dropped while it waits");
    check_serves(&host, Build::new(2));
    check_mapped(&host, 1);
}

#[test]
fn past_the_drain_deadline_an_unload_drops_calls_and_tells_them_so() {
    let (host, call) = busy("reload.drain_timeout_ms = 200", 600_000);
    let done = check_done(&host.admin_post("plugins/changing/unload", &json!({})));
    assert_eq!(done["cancelled_calls"], 1, "{done}");
    let answer = call.answer();
    assert_eq!((answer.problem().0, answer.problem().1.as_str()), (503, "cancelled"));
    assert_eq!(answer.json()["executed"], true);
    check_mapped(&host, 0);
}

#[test]
fn unloading_lets_calls_end_and_then_there_is_nothing_to_call() {
    let (host, call) = busy("", 700);
    std::thread::scope(|scope| {
        let unload = scope.spawn(|| host.admin_post("plugins/changing/unload", &json!({})));
        // The call is answered before the plugin is gone, and new ones are refused before that.
        until("it is withdrawn", || host.call(BUILD, &json!({})).status != 200);
        assert_eq!(host.call(BUILD, &json!({})).problem().1, "not_found");
        assert_eq!(call.answer().json(), json!(["build-0001", "build-0001"]));
        let done = check_done(&unload.join().unwrap());
        assert_eq!((&done["generation"], &done["previous"]), (&json!(null), &json!(1)), "{done}");
    });
    let status = host.plugin_status("changing");
    assert_eq!((&status["state"], &status["functions"]), (&json!("retired"), &json!([])), "{status}");
    check_mapped(&host, 0);
    check_refused(&host.admin_post("plugins/changing/unload", &json!({})), 404, "not_found");

    let loaded = check_done(&host.admin_post("plugins", &json!({ "file": "libchanging.so" })));
    assert_eq!((&loaded["generation"], &loaded["previous"]), (&json!(2), &json!(null)), "{loaded}");
    check_serves(&host, Build::new(1));
    let again = host.admin_post("plugins", &json!({ "file": "libchanging.so" }));
    let (_, detail) = check_refused(&again, 400, "invalid_argument");
    assert!(detail.contains("is loaded already"), "{detail}");
    check_mapped(&host, 1);
}

#[test]
fn what_happens_to_the_file_does_not_touch_the_running_plugin() {
    let pair = Pair::start("");
    let file = pair.host.plugins().join("libchanging.so");
    let load = pair.load();
    load.pass(50);

    // Overwritten in place, which would kill a process that had it mapped.
    fs::write(&file, vec![0xcc; Build::new(1).bytes().len()]).unwrap();
    load.pass(50);
    let (step, detail) = check_refused(&pair.host.reload("changing"), 422, "reload_failed");
    assert_eq!(step, "load", "{detail}");
    assert!(detail.contains("libchanging.so") && detail.contains("is not a library"), "{detail}");

    fs::write(&file, Build::new(2).bytes()).unwrap();
    OpenOptions::new().write(true).open(&file).unwrap().set_len(100_000).unwrap();
    load.pass(50);
    let (step, detail) = check_refused(&pair.host.reload("changing"), 422, "reload_failed");
    assert_eq!(step, "load", "{detail}");
    assert!(detail.contains("cut off"), "{detail}");

    fs::remove_file(&file).unwrap();
    load.pass(50);
    let (step, detail) = check_refused(&pair.host.reload("changing"), 422, "reload_failed");
    assert_eq!(step, "stage", "{detail}");
    assert!(detail.contains("`changing`") && detail.contains("has no file any more"), "{detail}");
    assert!(!detail.contains("load_plugins"), "it was not required: {detail}");

    check_serves(&pair.host, Build::new(1));
    pair.host.put_build(Build::new(3));
    check_done(&pair.host.reload("changing"));
    check_serves(&pair.host, Build::new(3));
    let tally = load.stop();
    assert!(tally.failed.is_empty(), "{:?}\n{}", tally.failed, pair.host.log());
}
