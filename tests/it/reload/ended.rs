//! Builds that end the process while they are loaded: the next start leaves them out and names them, and what is good
//! beside them serves.

use std::fs;

use framex_tests::{Build, Daemon, DaemonBuilder, broken, host_command, is_instrumented, run_to_end};
use serde_json::{Value, json};

use super::{check_done, check_mapped, check_serves};

const TINY: &str = "libtiny.so";

/// A daemon with build 1 of the changing plugin, which lets a build run its constructors in the host.
fn host() -> DaemonBuilder {
    super::host().config("reload.probe = \"off\"")
}

/// All ways in which a build ends the process.
fn all_ways() -> impl Iterator<Item = (String, Vec<u8>)> {
    let places = ["IN_CONSTRUCTOR", "IN_ON_START"].into_iter();
    places.flat_map(|place| {
        let of = move |how| (format!("{place}: {how}"), broken::c_plugin_that_ends(place, how));
        // AddressSanitizer would report the fault.
        ["abort()", "exit(3)", "fault()"].into_iter().take(if is_instrumented() { 2 } else { 3 }).map(of)
    })
}

/// Runs the host until it ends by itself, as its supervisor would.
fn run_until_it_ends(folder: &std::path::Path) -> framex_tests::Exit {
    let mut command = host_command();
    command.env("FRAMEX_SERVER__PORT", "0").env("FRAMEX_LOG__FORMAT", "json");
    run_to_end(command.arg("--config").arg(folder.join("config.toml")))
}

#[track_caller]
fn check_tiny_serves(host: &Daemon) {
    let argument = json!({ "id": 7 });
    assert_eq!(host.call("tiny.echo", &argument).json(), argument, "{}", host.log());
}

/// Checks that the log, `/ready` and `plugins list` name the file that was left out.
#[track_caller]
fn check_named(host: &Daemon, way: &str) {
    let reason = host.failure(TINY).unwrap_or_else(|| panic!("{way}: {}", host.log()));
    assert!(reason.contains("was being loaded when the host ended"), "{way}: {reason}");
    let logged = host.logged(&reason);
    assert_eq!((&logged["level"], &logged["plugin"]), (&json!("ERROR"), &json!(TINY)), "{way}");
    let list = host.run(&["plugins", "list"]);
    assert!(list.stdout.contains(&format!("`{TINY}` is not served since ")), "{way}: {}", list.stdout);
    let listed = host.admin_get("plugins").json();
    assert_eq!(listed["failed_plugins"][0]["plugin"], TINY, "{way}: {listed}");
}

#[test]
fn one_that_never_served_is_left_out_and_the_others_serve() {
    for (way, bytes) in all_ways() {
        let host = host().plugin("demo").plugin_bytes(TINY, &bytes);
        let first = host.run(&["run"]);
        assert!(first.code.is_none() || first.code == Some(3), "{way}: {}", first.stderr);
        // The log says which file it was, before any of its code ran.
        let loading: Vec<Value> =
            first.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let last = loading.iter().rev().find(|line| line["message"] == "loading").unwrap();
        assert_eq!((&last["file"], &last["plugin"]), (&json!(TINY), &json!("tiny")), "{way}");
        let mut host = host.start();
        for _ in 0..2 {
            check_serves(&host, Build::new(1));
            assert_eq!(host.get("/ready").json()["plugins"], json!(["changing", "demo"]), "{way}");
            check_named(&host, &way);
            check_mapped(&host, 2);
            // Neither does a reload of the host try it, nor is one refused because of it.
            let report = check_done(&host.reload_host());
            assert!(
                report["warnings"].to_string().contains("was being loaded when the host ended"),
                "{report}"
            );
            host = host.start_again();
        }
        // Another digest in the file is another build.
        host.put(TINY, &broken::c_plugin());
        check_done(&host.reload_host());
        check_tiny_serves(&host);
        assert_eq!(host.failure(TINY), None, "{way}");
        let host = host.start_again();
        check_tiny_serves(&host);
        assert!(!host.folder().join("state/tries.json").exists(), "nothing is left to be said");
        host.stop();
    }
}

#[test]
fn a_build_that_ends_the_host_is_skipped_for_every_way_of_loading() {
    for (way, bytes) in all_ways() {
        for watches in [false, true] {
            let config = format!("reload.watch = {watches}\n");
            let mut host = host().plugin_bytes(TINY, &broken::c_plugin()).config(&config).start();
            if watches {
                let _first = host.logged("reloaded");
            }
            host.put(TINY, &bytes);
            if !watches {
                assert!(
                    host.try_admin_post("plugins/tiny/reload", &json!({})).is_none(),
                    "{way}: it is gone"
                );
            }
            let code = host.wait();
            assert!(code.is_none() || code == Some(3), "{way}: {code:?}");
            let host = host.start_again();
            check_tiny_serves(&host);
            check_serves(&host, Build::new(1));
            check_named(&host, &way);
            if watches {
                // It looks at what changed before it was there, too.
                let _looked = host.logged("reloaded");
                check_tiny_serves(&host);
            }
            let status = host.plugin_status("tiny");
            let reason = status["differs_from_file"]["reason"].as_str().unwrap_or_default();
            assert!(reason.contains("was being loaded when the host ended"), "{way}: {status}");
            host.stop();
        }
    }
}

#[test]
fn one_that_came_while_the_host_was_down_ends_it_once() {
    let mut host = host().plugin_bytes(TINY, &broken::c_plugin()).start();
    host.signal("KILL");
    assert_eq!(host.wait(), None);
    host.put(TINY, &broken::c_plugin_that_ends("IN_CONSTRUCTOR", "exit(3)"));
    assert_eq!(run_until_it_ends(host.folder()).code, Some(3));
    let host = host.start_again();
    check_tiny_serves(&host);
    check_serves(&host, Build::new(1));
    host.stop();
}

#[test]
fn an_operator_may_try_it_again() {
    let bytes = broken::c_plugin_that_ends("IN_ON_START", "exit(3)");
    let host = host().plugin_bytes(TINY, &bytes);
    assert_eq!(host.run(&["run"]).code, Some(3));
    let mut host = host.start();
    assert!(host.failure(TINY).unwrap().ends_with("`framex-host plugins load libtiny.so`"));
    for _ in 0..2 {
        assert!(host.try_admin_post("plugins", &json!({ "file": TINY })).is_none(), "it ends the host again");
        assert_eq!(host.wait(), Some(3));
        host = host.start_again();
        check_serves(&host, Build::new(1));
        assert!(host.failure(TINY).is_some());
    }
}

/// One that has served may have met with the end of the host by chance, as when it is killed.
#[test]
fn one_that_has_served_is_tried_twice() {
    let host = host().start();
    let started = |host: &Daemon, build: Build| check_serves(host, build);
    started(&host, Build::new(1));
    let mut host = host;
    host.signal("TERM");
    assert_eq!(host.wait(), Some(0));
    let digest = |host: &Daemon| {
        let record = fs::read_to_string(host.folder().join("state/plugins.json")).unwrap();
        let record: Value = serde_json::from_str(&record).unwrap();
        record["plugins"]["changing"]["committed"]["sha256"].as_str().unwrap().to_owned()
    };
    // As a host leaves it that is killed while it loads.
    let leave = |host: &Daemon, times: u32| {
        let build = json!({ "plugin": "changing", "file": "libchanging.so", "times": 1 });
        let mut tries = json!({ "trying": { digest(host): build.clone() }, "ended": {} });
        if times > 1 {
            tries["ended"][digest(host)] = build;
        }
        fs::write(host.folder().join("state/tries.json"), tries.to_string()).unwrap();
        let mut command = std::process::Command::new("chmod");
        assert!(command.arg("600").arg(host.folder().join("state/tries.json")).status().unwrap().success());
    };
    leave(&host, 1);
    let mut host = host.start_again();
    started(&host, Build::new(1));
    assert!(!host.folder().join("state/tries.json").exists());
    host.signal("TERM");
    assert_eq!(host.wait(), Some(0));
    leave(&host, 2);
    let host = host.start_again();
    assert!(host.failure("libchanging.so").is_some(), "{}", host.log());
    // What the operator asks for is tried, and lives.
    check_done(&host.admin_post("plugins", &json!({ "file": "libchanging.so" })));
    let host = host.start_again();
    started(&host, Build::new(1));
    host.stop();
}

/// A host that is told to end while a slow build starts does not blame that.
#[test]
fn one_that_was_being_started_when_the_host_was_told_to_end_is_not_to_blame() {
    let slow = Build::new(1).start(b'h');
    let host: DaemonBuilder = Daemon::builder().build(slow).config("reload.start_timeout_ms = 60000");
    let mut host = host.start_until("loading");
    host.signal("TERM");
    assert_eq!(host.wait(), Some(143), "{}", host.log());
    assert!(!host.folder().join("state/tries.json").exists());
}
