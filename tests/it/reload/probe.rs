//! Builds that hurt the process that maps them: the probe finds them, and the host never maps them.

use std::fs;

use framex_tests::{Build, Daemon, broken, is_instrumented, until};
use serde_json::json;

use super::load::Pair;
use super::{check_done, check_mapped, check_refused, check_serves, host};

const TINY: &str = "libtiny.so";

/// Builds with harmful constructors and destructors, and the words that name the harm.
fn harms() -> Vec<(Vec<u8>, &'static str)> {
    let constructor = |how| broken::c_plugin_that_ends("IN_CONSTRUCTOR", how);
    let destructor = |how| broken::c_plugin_that_ends("IN_DESTRUCTOR", how);
    let mut harms = vec![
        (constructor("abort()"), "mapping it ended the process with signal 6 (SIGABRT)"),
        (constructor("exit(0)"), "mapping it ended the process with exit code 1"),
        (constructor("_exit(3)"), "mapping it ended the process with exit code 3"),
        (constructor("kill(getpid(), SIGKILL)"), "mapping it ended the process with signal 9 (SIGKILL)"),
        (constructor("for (;;) {}"), "mapping it did not end within 1000 ms"),
        (constructor("pause()"), "mapping it did not end within 1000 ms"),
        (constructor("if (fork() == 0) pause()"), "mapping it began another process"),
        (
            constructor("if (fork() == 0) { setsid(); if (fork() == 0) pause(); }"),
            "mapping it began another process",
        ),
        (constructor("if (fork() == 0) return"), "mapping it began another process"),
        (destructor("abort()"), "unmapping it ended the process with signal 6 (SIGABRT)"),
        (destructor("pause()"), "unmapping it did not end within 1000 ms"),
    ];
    if !is_instrumented() {
        // AddressSanitizer would report the fault.
        harms.push((constructor("fault()"), "mapping it ended the process with signal 11 (SIGSEGV)"));
        harms.push((constructor("overflow(1)"), "mapping it ended the process with signal 6 (SIGABRT); its last words: fatal runtime error: stack overflow, aborting"));
        harms.push((
            constructor("takes_memory()"),
            "mapping it ended the process with signal 6 (SIGABRT); its last words: no memory",
        ));
        harms.push((
            constructor("takes_descriptors()"),
            "mapping it ended the process with signal 6 (SIGABRT); its last words: no descriptor",
        ));
    }
    harms
}

#[test]
fn a_build_that_hurts_its_process_is_refused_and_no_call_fails() {
    let pair = Pair::start("reload.start_timeout_ms = 1000");
    pair.host.put(TINY, &broken::c_plugin());
    check_done(&pair.host.admin_post("plugins", &json!({ "file": TINY })));
    let load = pair.load();
    for (bytes, words) in harms() {
        pair.host.put(TINY, &bytes);
        let (step, detail) = check_refused(&pair.host.reload("tiny"), 422, "reload_failed");
        assert_eq!(step, "probe", "{detail}");
        let begins = format!("plugin file `{TINY}` is not let into the host, as its probe shows: {words}");
        assert!(detail.starts_with(&begins), "{detail}");
        assert_eq!(pair.host.call("tiny.echo", &json!({ "id": 7 })).json(), json!({ "id": 7 }));
        check_mapped(&pair.host, 3);
        load.pass(12);
    }
    let tally = load.stop();
    assert!(tally.failed.is_empty(), "{:?}\n{}", tally.failed, pair.host.log());
    until("no process of a probe is left", || processes_of(&pair.host).is_empty());
    assert_eq!(pair.host.plugin_status("tiny")["zombies"], json!([]));
}

#[test]
fn a_host_starts_without_a_build_that_hurts_its_process() {
    let bytes = broken::c_plugin_that_ends("IN_CONSTRUCTOR", "abort()");
    let host = host().plugin_bytes(TINY, &bytes);
    let checked = host.run(&["check"]);
    let words = "mapping it ended the process with signal 6 (SIGABRT)";
    assert_eq!(checked.code, Some(1), "{}", checked.stdout);
    assert!(checked.stderr.contains(words), "{}", checked.stderr);
    let host = host.start();
    check_serves(&host, Build::new(1));
    let reason = host.failure("tiny").unwrap_or_else(|| panic!("{}", host.log()));
    assert!(reason.contains(words), "{reason}");
    let logged = host.logged(&reason);
    assert_eq!((&logged["level"], &logged["step"]), (&json!("ERROR"), &json!("probe")));
    assert!(!host.folder().join("state/tries.json").exists(), "it never was in the host");
    host.stop();
}

#[test]
fn the_probe_shows_among_the_steps_of_a_change_and_can_be_turned_off() {
    for (probe, expected) in [("load", true), ("off", false)] {
        let host = host().config(&format!("reload.probe = {probe:?}")).start();
        host.put_build(Build::new(2));
        let report = check_done(&host.reload("changing"));
        let steps: Vec<_> =
            report["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
        assert_eq!(steps.contains(&json!("probe")), expected, "{report}");
        check_serves(&host, Build::new(2));
        host.stop();
    }
}

#[test]
fn a_probe_ends_with_its_host() {
    let mut host = host().config("reload.start_timeout_ms = 60000").start();
    for harm in ["pause()", "for (;;) {}"] {
        host.put(TINY, &broken::c_plugin_that_ends("IN_CONSTRUCTOR", harm));
        let url = host.folder().to_owned();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| host.try_admin_post("plugins", &json!({ "file": TINY })));
            until("the probe runs", || !processes_of(&host).is_empty());
            let probes = processes_of(&host);
            host.signal("KILL");
            assert!(asked.join().unwrap().is_none(), "{}", url.display());
            for probe in probes {
                until("the probe has ended", || !fs::exists(format!("/proc/{probe}")).unwrap());
            }
        });
        assert_eq!(host.wait(), None);
        fs::remove_file(host.folder().join("plugins").join(TINY)).unwrap();
        host = host.start_again();
        check_serves(&host, Build::new(1));
    }
}

/// The processes that the host has begun and that have not ended.
fn processes_of(host: &Daemon) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", host.pid())).unwrap();
    let children = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
    children.collect::<String>().split_whitespace().map(|id| id.parse().unwrap()).collect()
}
