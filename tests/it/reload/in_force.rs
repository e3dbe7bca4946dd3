//! The file, the record and what serves: each difference is named, everywhere, and only what is new is a
//! reason to refuse a reload.

use std::fs;

use framex_tests::{Build, Daemon, send, until};
use serde_json::{Value, json};

use super::{BUILD, check_done, check_refused, check_serves, host};

const SUCCESSFUL: &str = "framex_config_last_reload_successful";
const SUCCESS_AT: &str = "framex_config_last_reload_success_timestamp_seconds";

fn config(host: &Daemon) -> String {
    fs::read_to_string(host.folder().join("config.toml")).unwrap()
}

fn with_keys(config: &str, keys: &[&str]) -> String {
    format!("{config}[auth]\nrules = {{ \"/api/v1/*\" = {keys:?} }}\n")
}

fn status_with(host: &Daemon, key: &str) -> u16 {
    let headers = [("authorization", key), ("content-type", "application/json")];
    send("POST", &format!("{}/api/v1/functions/{BUILD}", host.url()), &headers, b"{}").status
}

fn ready(host: &Daemon) -> Value {
    host.admin_get_at("/ready").json()
}

/// Returns what `plugins list`, `/ready` and the metrics say about the plugin's difference: they agree.
#[track_caller]
fn difference(host: &Daemon) -> Option<String> {
    let status = host.plugin_status("changing");
    let reason = status["differs_from_file"]["reason"].as_str().map(str::to_owned);
    let metric = host.metric("framex_plugin_differs_from_file{plugin=\"changing\"}");
    assert_eq!(metric, if reason.is_some() { 1.0 } else { 0.0 }, "{status}");
    let warnings = ready(host)["warnings"].to_string();
    let named = warnings.contains("plugin `changing` serves something else than its file");
    assert_eq!(named, reason.is_some(), "{warnings}");
    let list = host.run(&["plugins", "list"]).stdout;
    assert!(list.lines().next().unwrap().ends_with("DIFFERS FROM FILE"), "{list}");
    assert_eq!(list.contains("`changing` differs from its file"), reason.is_some(), "{list}");
    if let Some(reason) = &reason {
        assert!(list.contains(reason), "{list}");
        let public = host.get("/ready").json();
        assert!(public["warnings"].to_string().contains("plugin `changing`"), "{public}");
        assert!(!public.to_string().contains(host.folder().to_str().unwrap()), "{public}");
    }
    reason
}

#[test]
fn a_key_is_revoked_even_if_the_directory_was_bad_before() {
    let whole = Build::new(1).bytes();
    let builder = host()
        .plugin_bytes("libgarbage.so", b"garbage")
        .plugin_bytes("libcut.so", &whole[..10_000])
        .plugin_bytes("libempty.so", b"");
    std::os::unix::fs::symlink("nowhere", builder.plugins().join("libdangling.so")).unwrap();
    let host = builder.start();
    let plain = config(&host);
    for key in ["first", "second"] {
        host.put_config(&with_keys(&plain, &[key]));
        let report = check_done(&host.reload_host());
        let warnings = report["warnings"].to_string();
        for file in ["libgarbage.so", "libcut.so", "libempty.so", "libdangling.so"] {
            assert!(warnings.contains(file), "{warnings}");
            assert!(host.failure(file).is_some());
        }
        assert_eq!(status_with(&host, key), 200);
    }
    assert_eq!(status_with(&host, "first"), 401, "it was revoked");
    // Something that is new and bad is a reason to refuse, once.
    host.put("libnew.so", b"new garbage");
    host.put_config(&with_keys(&plain, &["third"]));
    let (step, detail) = check_refused(&host.reload_host(), 422, "reload_failed");
    assert!(step == "load" && detail.contains("libnew.so") && !detail.contains("libgarbage.so"), "{detail}");
    assert_eq!((status_with(&host, "second"), status_with(&host, "third")), (200, 401));
    assert!(host.failure("libnew.so").is_some(), "what is wrong now is listed");
    check_done(&host.reload_host());
    assert_eq!((status_with(&host, "second"), status_with(&host, "third")), (401, 200));
    // What was bad and is another file now is new.
    host.put("libgarbage.so", b"other garbage");
    check_refused(&host.reload_host(), 422, "reload_failed");
    fs::remove_file(host.plugins().join("libgarbage.so")).unwrap();
    assert_eq!(host.failure("libgarbage.so"), None, "what is gone is not wrong now");
    check_done(&host.reload_host());
    check_serves_with(&host, "third");
    host.stop();
}

#[track_caller]
fn check_serves_with(host: &Daemon, key: &str) {
    assert_eq!(status_with(host, key), 200, "{}", host.log());
}

#[test]
fn a_refused_reload_is_seen_until_the_config_is_in_force() {
    let host = host().start();
    let started = host.metric(SUCCESS_AT);
    assert!(started > 1.6e9 && (host.metric(SUCCESSFUL) - 1.0).abs() < f64::EPSILON);
    assert_eq!(ready(&host)["config_not_in_force"], Value::Null);
    let good = config(&host);
    // Written, and not asked for yet.
    host.put_config(&format!("{good}# as it was\n"));
    let gap = ready(&host)["config_not_in_force"].clone();
    assert!(gap["reason"].as_str().unwrap().contains("config.toml was written since it was read"), "{gap}");
    assert!(gap["since"].is_string(), "{gap}");
    check_done(&host.reload_host());
    assert_eq!(ready(&host)["config_not_in_force"], Value::Null);

    host.put_config(&format!("{good}[server]\nprot = 1\n"));
    let mut since = None;
    for _ in 0..2 {
        check_refused(&host.reload_host(), 422, "reload_failed");
        assert_eq!(host.metric(SUCCESSFUL), 0.0);
        let answer = ready(&host);
        let gap = &answer["config_not_in_force"];
        assert!(gap["reason"].as_str().unwrap().contains("unknown key `server.prot`"), "{gap}");
        let first = since.get_or_insert_with(|| gap["since"].clone());
        assert_eq!(gap["since"], *first, "since the first refusal");
        assert!(
            answer["warnings"][0]
                .as_str()
                .unwrap()
                .starts_with("the config on disk is not in force since 20")
        );
    }
    // A client without a key learns that it is so, but not why.
    let public = host.get("/ready").json();
    assert!(public["config_not_in_force"]["since"].is_string(), "{public}");
    assert!(!public.to_string().contains("prot"), "{public}");
    host.put_config(&good);
    check_done(&host.reload_host());
    assert_eq!((ready(&host)["config_not_in_force"].clone(), host.metric(SUCCESSFUL)), (Value::Null, 1.0));
    assert!(host.metric(SUCCESS_AT) >= started);
    host.put_config(&format!("{good}host_id = \"other\"\n"));
    check_done(&host.reload_host());
    let warnings = ready(&host)["warnings"].to_string();
    assert!(warnings.contains("needs a restart to come into force: host_id"), "{warnings}");
    host.stop();
}

#[test]
fn a_build_that_is_not_in_force_is_seen_everywhere() {
    let host = host().start();
    assert_eq!(difference(&host), None);
    // Copied, and not requested yet; the same bytes do not differ.
    host.put_build(Build::new(1));
    assert_eq!(difference_in_list(&host), None);
    host.put_build(Build::new(2).start(b'f'));
    assert!(difference(&host).unwrap().contains("was written since it was looked at"));
    check_refused(&host.reload_host(), 422, "reload_failed");
    assert!(difference(&host).unwrap().contains("this build fails when it starts"));
    assert!(host.failure("changing").unwrap().contains("this build fails when it starts"));
    // Refused before and unchanged: the rest of a reload comes into force.
    let report = check_done(&host.reload_host());
    assert!(report["warnings"].to_string().contains("this build fails when it starts"), "{report}");
    assert!(difference(&host).is_some());
    host.put_build(Build::new(3).shape(b'c'));
    check_refused(&host.reload("changing"), 422, "reload_failed");
    assert!(difference(&host).unwrap().contains("callers would break"));
    let host = host.start_again();
    check_serves(&host, Build::new(1));
    assert!(difference(&host).unwrap().contains("was tried"));
    host.put("libchanging.so", b"garbage");
    check_refused(&host.reload_host(), 422, "reload_failed");
    assert!(difference(&host).unwrap().contains("is not a library"));
    check_done(&host.reload_host());
    check_serves(&host, Build::new(1));
    host.put_build(Build::new(4));
    check_done(&host.reload_host());
    assert_eq!(difference(&host), None);
    check_done(&host.admin_post("plugins/changing/rollback", &json!({})));
    assert!(difference(&host).unwrap().contains("another build was brought back"));
    fs::remove_file(host.plugins().join("libchanging.so")).unwrap();
    assert!(difference(&host).unwrap().contains("its file is gone"));
    assert_eq!(ready(&host)["failed_plugins"], json!([]));
    host.stop();
}

/// `plugins list` reads files whose times alone are new.
fn difference_in_list(host: &Daemon) -> Option<String> {
    let status = host.plugin_status("changing");
    status["differs_from_file"]["reason"].as_str().map(str::to_owned)
}

#[test]
fn the_watcher_tells_as_well() {
    let host = host().config("[reload]\nwatch = true").start();
    let _first = host.logged("reloaded");
    host.put_build(Build::new(2).start(b'f'));
    until("it was tried", || host.metric(SUCCESSFUL) == 0.0);
    assert!(difference(&host).unwrap().contains("this build fails when it starts"));
    assert!(host.failure("changing").is_some());
    // A key goes all the same, and what is wrong stays named.
    let plain = config(&host);
    host.put_config(&with_keys(&plain, &["a-key"]));
    until("the key is needed", || host.call(BUILD, &json!({})).status == 401);
    until("it is in force", || host.metric(SUCCESSFUL) > 0.0);
    assert!(host.failure("changing").is_some());
    let status = host.plugin_status("changing");
    assert!(status["differs_from_file"]["reason"].as_str().unwrap().contains("this build fails"), "{status}");
    host.stop();
}

#[test]
fn a_request_that_cannot_be_met_is_no_failure_of_the_plugin() {
    let host = host().start();
    for body in [json!({}), json!({ "generation": 9 })] {
        check_refused(&host.admin_post("plugins/changing/rollback", &body), 400, "invalid_argument");
    }
    check_refused(&host.admin_post("plugins", &json!({ "file": "libchanging.so" })), 400, "invalid_argument");
    assert_eq!(host.plugin_status("changing")["last_failure"], Value::Null);
    assert_eq!(ready(&host)["failed_plugins"], json!([]));
    host.stop();
}

#[test]
fn the_list_tells_builds_apart() {
    let host = host().start();
    let line = |host: &Daemon| {
        let list = host.run(&["plugins", "list"]).stdout;
        assert!(list.starts_with("PLUGIN") && list.contains("SHA256") && list.contains("SINCE"), "{list}");
        list.lines().nth(1).unwrap().to_owned()
    };
    let first = line(&host);
    let status = host.plugin_status("changing");
    assert!(first.contains(&status["sha256"].as_str().unwrap()[..8]), "{first}");
    assert!(first.contains(status["published_at"].as_str().unwrap()), "{first}");
    host.put_build(Build::new(2));
    check_done(&host.reload("changing"));
    let second = line(&host);
    let sha256 = &host.plugin_status("changing")["sha256"].as_str().unwrap()[..8].to_owned();
    assert!(second.contains(sha256) && !first.contains(sha256), "{second}");
    let help = host.run(&["plugins", "unload", "--help"]).stdout;
    assert!(help.contains("until the next reload of the host, or start"), "{help}");
    host.stop();
}

#[test]
fn the_start_says_what_it_loads_and_what_it_passes_over() {
    let loaded = |host: &Daemon| {
        let log = host.log();
        let says = |line: &&str| line.contains("is loaded") || line.contains("are loaded");
        let line = log.lines().find(says).unwrap();
        serde_json::from_str::<Value>(line).unwrap()["message"].as_str().unwrap().to_owned()
    };
    let plugins = |host: &Daemon| host.plugins().display().to_string();
    let host_1 = host().plugin_bytes("libx.dll", b"MZ").plugin_bytes("README.md", b"text").start();
    let expected = format!(
        "1 plugin of {} is loaded; passed over, as their names do not end in .so: libx.dll",
        plugins(&host_1)
    );
    assert_eq!(loaded(&host_1), expected);
    let host_2 = Daemon::builder().plugin_bytes("hello", b"text").start();
    assert!(loaded(&host_2).ends_with("are loaded; passed over, as their names do not end in .so: hello"));
    let host_3 = Daemon::builder().start();
    assert_eq!(loaded(&host_3), format!("0 plugins of {} are loaded", plugins(&host_3)));
}

/// A pipe gives its text once: at a reload it is empty, which must not take the rules out of force.
#[test]
fn a_config_that_a_pipe_gives_no_more_does_not_come_into_force() {
    let host = host().config(&with_keys("", &["a-key-for-callers-1234"])).start();
    let (path, protected) = (host.folder().join("config.toml"), config(&host));
    fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (_, _, detail) = host.reload_host().problem();
    assert!(detail.contains("has no more text, so the config in force stays"), "{detail}");
    assert_eq!(status_with(&host, "no-key-of-this-host"), 401);
    assert_eq!(status_with(&host, "a-key-for-callers-1234"), 200);
    fs::remove_file(&path).unwrap();
    fs::write(&path, &protected).unwrap();
    check_done(&host.reload_host());
    host.stop();
}
