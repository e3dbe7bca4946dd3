//! Many changes at once, and changes while the host ends.

use std::collections::BTreeSet;

use framex_tests::{Answer, Build};
use serde_json::json;

use super::load::Pair;
use super::{WAITS, check_done, check_mapped, check_refused, check_serves, host};

/// Asks for fifty reloads of these plugins at once, under load.
fn check_fifty(plugins: &[&str]) {
    let pair = Pair::start("");
    let load = pair.load();
    load.pass(20);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let ask = |number: usize| pair.host.reload(plugins[number % plugins.len()]);
        let asked: Vec<_> = (0..50).map(|number| scope.spawn(move || ask(number))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let mut generations: BTreeSet<(String, u64)> = BTreeSet::new();
    for answer in &answers {
        let done = check_done(answer);
        let (generation, previous) = (done["generation"].as_u64().unwrap(), done["previous"].as_u64());
        assert_eq!(previous, Some(generation - 1), "{done}");
        generations.insert((done["plugin"].as_str().unwrap().to_owned(), generation));
    }
    let each = 50 / plugins.len() as u64;
    let numbers =
        |plugin: &&str| (2..=1 + each).map(|number| (plugin.to_string(), number)).collect::<Vec<_>>();
    let expected = plugins.iter().flat_map(numbers);
    assert_eq!(generations, expected.collect(), "each of them got a number of its own");
    let tally = load.stop();
    assert!(tally.failed.is_empty(), "{:?}\n{}", tally.failed, pair.host.log());
    check_mapped(&pair.host, 2);
}

#[test]
fn fifty_reloads_of_one_plugin_at_once_come_one_after_the_other() {
    check_fifty(&["changing"]);
}

#[test]
fn fifty_reloads_of_two_plugins_at_once_do_not_mix_them_up() {
    check_fifty(&["changing", "misbehave"]);
}

#[test]
fn a_rollback_waits_for_the_reload_before_it() {
    let host = host().start();
    let call = host.begin(WAITS, &json!({ "ms": 800 }));
    host.wait_for_log("begins to wait");
    host.put_build(Build::new(2));
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| host.reload("changing"));
        host.wait_for_log("\"generation\":2");
        let rollback = scope.spawn(|| host.admin_post("plugins/changing/rollback", &json!({})));
        assert_eq!(call.answer().json()[0], "build-0001");
        assert_eq!(check_done(&reload.join().unwrap())["generation"], 2);
        let done = check_done(&rollback.join().unwrap());
        assert_eq!((&done["generation"], &done["previous"]), (&json!(3), &json!(2)), "{done}");
    });
    check_serves(&host, Build::new(1));
    check_mapped(&host, 1);
}

#[test]
fn kept_generations_come_back_and_others_do_not() {
    let host = host().config("reload.keep_generations = 2").start();
    for number in 2..=4 {
        host.put_build(Build::new(number));
        check_done(&host.reload("changing"));
    }
    assert_eq!(host.plugin_status("changing")["kept"], json!([3, 2]));
    let rollback = |body| host.admin_post("plugins/changing/rollback", &body);
    for gone in [1, 4, 99] {
        let (_, detail) = check_refused(&rollback(json!({ "generation": gone })), 400, "invalid_argument");
        assert!(detail.contains("kept are [3, 2]"), "{detail}");
        check_serves(&host, Build::new(4));
    }
    let done = check_done(&rollback(json!({ "generation": 2 })));
    assert_eq!((&done["generation"], &done["previous"]), (&json!(5), &json!(4)), "{done}");
    check_serves(&host, Build::new(2));
    let done = check_done(&rollback(json!({})));
    assert_eq!((&done["generation"], &done["previous"]), (&json!(6), &json!(5)), "{done}");
    check_serves(&host, Build::new(4));
    // A reload takes the operator's file, regardless of a rollback.
    check_done(&host.reload("changing"));
    check_serves(&host, Build::new(4));
    assert_eq!(host.plugin_status("changing")["file"], "libchanging.so");
    check_mapped(&host, 1);
}

#[test]
fn a_reload_that_runs_when_the_host_ends_is_ended_first() {
    let mut host = host().start();
    let call = host.begin(WAITS, &json!({ "ms": 800 }));
    host.wait_for_log("begins to wait");
    host.put_build(Build::new(2));
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| host.reload("changing"));
        host.wait_for_log("\"generation\":2");
        host.signal("TERM");
        host.wait_for_log("stopping: calls in flight may end");
        assert_eq!(call.answer().json()[0], "build-0001", "the old build's call ends");
        assert_eq!(check_done(&reload.join().unwrap())["generation"], 2);
    });
    assert_eq!(host.wait(), Some(0), "{}", host.log());
    let late = host.try_admin_post("plugins/changing/reload", &json!({}));
    assert!(late.is_none(), "the listener is gone: {late:?}");
    assert!(!host.admin_socket().exists());
}

#[test]
fn reloads_while_the_host_ends_are_done_or_refused_and_it_ends_well() {
    let mut host = host().plugin("misbehave").start();
    std::thread::scope(|scope| {
        let ask = |number: usize| {
            host.try_admin_post(
                &format!("plugins/{}/reload", ["changing", "misbehave"][number % 2]),
                &json!({}),
            )
        };
        let asked: Vec<_> = (0..20).map(|number| scope.spawn(move || ask(number))).collect();
        host.wait_for_log("\"generation\":2");
        host.signal("TERM");
        for answer in asked.into_iter().filter_map(|asked| asked.join().unwrap()) {
            if answer.status != 200 {
                check_refused(&answer, 503, "unavailable");
            }
        }
    });
    assert_eq!(host.wait(), Some(0), "{}", host.log());
    assert!(!host.log().contains("panicked"), "{}", host.log());
}
