//! After a restart, the last committed generation serves, no matter how the host ended.

use std::collections::BTreeSet;
use std::fs;

use framex_tests::{Answer, Build, Daemon};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{BUILD, check_done, check_refused, check_serves, host, of_build};

/// Checks that the folder of staged copies has what the record names, and nothing else.
#[track_caller]
fn check_no_litter(host: &Daemon) {
    let state = host.folder().join("state");
    let record: Value = serde_json::from_slice(&fs::read(state.join("plugins.json")).unwrap()).unwrap();
    let plugins = record["plugins"].as_object().unwrap().values();
    let builds = plugins.flat_map(|plugin| {
        plugin["kept"]
            .as_array()
            .unwrap()
            .iter()
            .chain(plugin["committed"].as_object().map(|_| &plugin["committed"]))
    });
    let named: BTreeSet<String> = builds.map(|build| build["copy"].as_str().unwrap().to_owned()).collect();
    let names = |folder| -> BTreeSet<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(state.join("staged")), named);
    let expected = ["admin.sock", "instances", "lock", "plugins.json", "staged"].map(str::to_owned);
    let mut found = names(state);
    // There while a build is known that ended the host.
    found.remove("tries.json");
    assert_eq!(found, BTreeSet::from(expected));
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn rollback(host: &Daemon, generation: u64) -> Answer {
    host.admin_post("plugins/changing/rollback", &json!({ "generation": generation }))
}

#[test]
fn a_rollback_survives_restarts() {
    let mut host = host().start();
    for number in 2..4 {
        host.put_build(Build::new(number));
        check_done(&host.reload("changing"));
    }
    check_done(&rollback(&host, 1));
    for _ in 0..2 {
        check_serves(&host, Build::new(1));
        let status = host.plugin_status("changing");
        assert_eq!((&status["generation"], &status["kept"]), (&json!(4), &json!([3, 2, 1])));
        check_no_litter(&host);
        host = host.start_again();
    }
    check_done(&rollback(&host, 2));
    check_serves(&host, Build::new(2));
    assert_eq!(host.plugin_status("changing")["generation"], 5);
    host.signal("TERM");
    assert_eq!(host.wait(), Some(0));
    let host = host.start_again();
    check_serves(&host, Build::new(2));
    check_no_litter(&host);
    // The file is loaded when it is asked for, and when it is another one.
    check_done(&host.reload("changing"));
    check_serves(&host, Build::new(3));
}

#[test]
fn a_build_that_came_while_the_host_was_down_is_loaded_if_it_is_good() {
    let mut host = host().start();
    host.signal("KILL");
    assert_eq!(host.wait(), None);
    host.put_build(Build::new(2));
    let host = host.start_again();
    check_serves(&host, Build::new(2));
    assert_eq!(host.plugin_status("changing")["generation"], 2);
    check_done(&rollback(&host, 1));
    for bad in [Build::new(3).start(b'f'), Build::new(3).start(b'p')] {
        host.put_build(bad);
    }
    let host = host.start_again();
    check_serves(&host, Build::new(1));
    assert!(host.failure("changing").is_some_and(|reason| reason.contains("panicked")), "{}", host.log());
    check_no_litter(&host);
    fs::remove_file(host.plugins().join("libchanging.so")).unwrap();
    let host = host.start_again();
    assert_eq!(host.call(BUILD, &json!({})).problem().0, 404, "without its file, the plugin is not wanted");
}

#[test]
fn a_refused_build_is_not_tried_by_the_next_start() {
    let host = host().start();
    host.put_build(Build::new(2).start(b'f'));
    check_refused(&host.reload("changing"), 422, "reload_failed");
    assert_eq!(host.plugin_status("changing")["last_failure"]["step"], "start");
    let host = host.start_again();
    check_serves(&host, Build::new(1));
    let failure = host.failure("libchanging.so").unwrap();
    assert!(failure.contains("was tried") && failure.contains("generation 1 serves"), "{failure}");
    host.put_build(Build::new(3));
    check_done(&host.reload("changing"));
    assert_eq!(
        (host.failure("libchanging.so"), &host.plugin_status("changing")["last_failure"]),
        (None, &Value::Null)
    );
    check_serves(&host.start_again(), Build::new(3));
}

#[test]
fn a_build_that_ends_the_host_is_tried_once() {
    let mut host = host().start();
    host.put_build(Build::new(2).start(b'a'));
    assert!(host.try_admin_post("plugins/changing/reload", &json!({})).is_none(), "the host is gone");
    assert_eq!(host.wait(), None);
    let mut host = host.start_again();
    check_serves(&host, Build::new(1));
    check_no_litter(&host);
    // Also when it came while the host was down.
    host.signal("KILL");
    assert_eq!(host.wait(), None);
    host.put_build(Build::new(3).start(b'a'));
    let host = host.start_again_after_abort();
    check_serves(&host, Build::new(1));
    check_no_litter(&host);
}

#[test]
fn a_file_that_was_damaged_in_the_directory_stands_for_what_served() {
    let host = host().start();
    for bytes in [&b""[..], b"garbage", &Build::new(2).bytes()[..10_000]] {
        fs::write(host.plugins().join("libchanging.so"), bytes).unwrap();
        check_serves(&host, Build::new(1));
    }
    let host = host.start_again();
    check_serves(&host, Build::new(1));
    assert!(host.failure("libchanging.so").is_some(), "{}", host.log());
}

#[test]
fn a_damaged_copy_or_record_is_named_and_the_file_serves() {
    let host = host().start();
    host.put_build(Build::new(2));
    check_done(&host.reload("changing"));
    let state = host.folder().join("state");
    for copy in fs::read_dir(state.join("staged")).unwrap() {
        fs::remove_file(copy.as_ref().unwrap().path()).unwrap();
        fs::write(copy.unwrap().path(), "garbage").unwrap();
    }
    let host = host.start_again();
    check_serves(&host, Build::new(2));
    let (step, _) = check_refused(&rollback(&host, 1), 422, "reload_failed");
    assert_eq!(step, "load");
    fs::write(state.join("plugins.json"), "{").unwrap();
    let host = host.start_again();
    check_serves(&host, Build::new(2));
    host.wait_for_log("the record of plugins cannot be read");
}

#[test]
fn a_host_that_is_killed_at_any_moment_serves_what_it_committed_to() {
    const ROUNDS: u32 = 24;
    let mut host = host().start();
    let mut committed = Build::new(1);
    for round in 0..ROUNDS {
        let next = Build::new(round + 2);
        host.put_build(next);
        let answered = std::thread::scope(|scope| {
            let reload = scope.spawn(|| host.try_admin_post("plugins/changing/reload", &json!({})));
            // From before the copy is made until the old library is unmapped.
            let begun = std::time::Instant::now();
            let moment = std::time::Duration::from_micros(u64::from(round) * 1500);
            while begun.elapsed() < moment {
                std::hint::spin_loop();
            }
            host.signal("KILL");
            reload.join().unwrap()
        });
        assert_eq!(host.wait(), None);
        let record = fs::read_to_string(host.folder().join("state/plugins.json")).unwrap();
        let record: Value = serde_json::from_str(&record).unwrap();
        let of_plugin = &record["plugins"]["changing"];
        let digest = sha256(&next.bytes());
        let is_committed = of_plugin["committed"]["sha256"] == digest;
        assert!(
            is_committed || answered.is_none(),
            "round {round}: it was answered before it was committed to"
        );
        // One that was not even noted as tried is new to the next start.
        let tries = fs::read_to_string(host.folder().join("state/tries.json")).unwrap_or_default();
        let is_new = !tries.contains(&digest);
        let served = if is_committed || is_new { next } else { committed };
        host = host.start_again();
        let serving = host.call(BUILD, &json!({})).json();
        assert_eq!(serving, of_build(served), "round {round}: {record}\n{}", host.log());
        check_no_litter(&host);
        committed = served;
    }
}
