//! Bad builds: each is refused with the step and the reason, and the build that served goes on.

use framex_tests::{Answer, Build, Daemon, broken};
use serde_json::json;

use super::load::Pair;
use super::{SOMETIMES, check_mapped, check_refused, check_serves, host};

const FILE: &str = "libchanging.so";

/// Bad builds: the fault, the step that finds it, and a part of the reason.
fn bad_builds() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let good = Build::new(9);
    let mut name = [0; 64];
    name[..8].copy_from_slice(b"changing");
    let renamed = |krate| broken::with_descriptor(krate, broken::DESCRIPTOR_NAME, &name);
    let cut_off = good.bytes()[..good.bytes().len() / 2].to_vec();
    vec![
        (
            good.start(b'f').bytes(),
            "start",
            "plugin `changing` failed to start: this build fails when it starts",
        ),
        (good.start(b'p').bytes(), "start", "it panicked: this build panics when it starts"),
        (good.start(b'h').bytes(), "start", "plugin `changing` did not start within 2000 ms"),
        (cut_off, "load", "cut off"),
        (renamed("wrong_layout"), "load", "has other layouts of the ABI's types than this host"),
        (Vec::new(), "load", "is empty"),
        (
            broken::with_descriptor("changing", broken::DESCRIPTOR_ABI_MAJOR, &9_u16.to_ne_bytes()),
            "load",
            "ABI",
        ),
        (b"#!/bin/sh\n".to_vec(), "load", "is not a library"),
    ]
}

#[track_caller]
fn check_bad(answer: &Answer, step: &str, reason: &str) {
    let (found, detail) = check_refused(answer, 422, "reload_failed");
    assert_eq!(found, step, "{detail}");
    assert!(detail.contains(reason), "{detail}");
    assert!(!detail.contains("/state/"), "no paths of the host: {detail}");
}

#[test]
fn every_third_build_is_bad_and_no_call_fails() {
    let pair = Pair::start("reload.start_timeout_ms = 2000");
    let load = pair.load();
    load.pass(50);
    let (mut generation, mut number) = (1, 1);
    for (bytes, step, reason) in bad_builds() {
        for _ in 0..2 {
            number += 1;
            pair.host.put_build(Build::new(number));
            let done = pair.host.reload("changing").json();
            let now = done["generation"].as_u64().unwrap_or_else(|| panic!("{done}"));
            assert!(now > generation, "{done}");
            generation = now;
        }
        pair.host.put(FILE, &bytes);
        check_bad(&pair.host.reload("changing"), step, reason);
        check_serves(&pair.host, Build::new(number));
        assert_eq!(pair.host.plugin_status("changing")["generation"], generation);
        load.pass(12);
    }
    let tally = load.stop();
    assert!(tally.failed.is_empty(), "{:?}\n{}", tally.failed, pair.host.log());
    assert!(!tally.builds.contains_key("build-0009") || number >= 9, "{:?}", tally.builds);
    let zombies = pair.host.plugin_status("changing")["zombies"].clone();
    assert_eq!(zombies.as_array().map(Vec::len), Some(1), "what was refused is not mapped either: {zombies}");
    assert_eq!(zombies[0]["reason"], "its on_start or on_stop is still running", "the one that hangs is");
    check_mapped(&pair.host, 3);
}

#[test]
fn a_build_that_hangs_in_on_start_is_refused_and_counted() {
    let host = host().config("reload.start_timeout_ms = 1000").start();
    host.put_build(Build::new(2).start(b'h'));
    check_bad(&host.reload("changing"), "start", "did not start within 1000 ms");
    check_serves(&host, Build::new(1));
    let zombies = host.plugin_status("changing")["zombies"].clone();
    assert_eq!((&zombies[0]["generation"], zombies.as_array().map(Vec::len)), (&json!(2), Some(1)));
    assert_eq!(zombies[0]["reason"], "its on_start or on_stop is still running");
    assert!(zombies[0]["mapped_bytes"].as_u64() > Some(0), "{zombies}");
    host.put_build(Build::new(3));
    assert_eq!(host.reload("changing").json()["generation"], 3, "numbers are never reused");
    check_serves(&host, Build::new(3));
    host.stop();
}

#[test]
fn a_build_of_another_plugin_does_not_take_its_place() {
    let host = host().start();
    let misbehave = std::fs::read(framex_tests::plugin_file("misbehave")).unwrap();
    host.put(FILE, &misbehave);
    check_bad(&host.reload("changing"), "stage", "has no file any more");
    check_serves(&host, Build::new(1));
    check_mapped(&host, 1);
}

#[test]
fn a_function_that_is_gone_is_not_found_from_anywhere_and_the_others_serve() {
    let pair = Pair::start("");
    let places: [(&Daemon, &str); 3] = [
        (&pair.host, SOMETIMES),
        (&pair.host, "misbehave.functions.asks_sometimes"),
        (&pair.peer, SOMETIMES),
    ];
    let check_answered = |build: Build| {
        for (place, function) in places {
            let answer = place.call(function, &json!({}));
            assert_eq!((answer.status, answer.json()), (200, json!(build.name())), "{function}");
        }
    };
    let check_gone = |generations: &str| {
        let text =
            format!("there is no function `{SOMETIMES}` any more: plugin `changing` had it {generations}");
        for (place, function) in places {
            let expected = (404, "not_found".to_owned(), text.clone());
            assert_eq!(place.call(function, &json!({})).problem(), expected, "{function} of {}", place.url());
        }
    };
    check_answered(Build::new(1));
    pair.change_to(Build::new(2).shape(b'b'), 2);
    check_gone("last in its generation 1; its generation 2 serves now");
    check_serves(&pair.host, Build::new(2));
    let functions = pair.host.plugin_status("changing")["functions"].clone();
    assert!(!functions.as_array().unwrap().iter().any(|function| function == SOMETIMES), "{functions}");
    pair.change_to(Build::new(3).shape(b'b'), 3);
    check_gone("last in its generation 1; its generation 3 serves now");
    pair.change_to(Build::new(4), 4);
    check_answered(Build::new(4));
    assert_eq!(pair.host.admin_post("plugins/changing/unload", &json!({})).status, 200);
    check_gone("last in its generation 4; it has no function here now");
}

#[test]
fn arguments_that_callers_can_no_longer_pass_are_refused_unless_meant() {
    let host = host().start();
    let typed = "changing.functions.typed";
    assert_eq!(host.call(typed, &json!({ "id": 7 })).json(), 7);
    host.put_build(Build::new(2).shape(b'c'));
    check_bad(
        &host.reload("changing"),
        "publish",
        "the argument `id` of `changing.functions.typed` has another type",
    );
    assert_eq!(host.call(typed, &json!({ "id": 7 })).json(), 7, "the old build serves");
    check_mapped(&host, 1);
    let answer = host.admin_post("plugins/changing/reload", &json!({ "allow_breaking": true }));
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(host.call(typed, &json!({ "id": "seven" })).json(), "seven");
    let (status, code, _) = host.call(typed, &json!({ "id": 7 })).problem();
    assert_eq!((status, code.as_str()), (400, "invalid_argument"));
}
