//! Plugins whose `on_start` goes wrong: nothing of them is published, the reason is named, and the host goes on.

use framex_tests::{Daemon, DaemonBuilder};
use serde_json::json;

/// Starts the daemon with `demo` and a `misbehave` with this config, and checks that it is refused with this sentence.
fn check(builder: DaemonBuilder, config: &str, sentence: &str) {
    let host = builder.config(&format!("[plugins.misbehave]\n{config}"));
    let host = host.plugin("demo").plugin("misbehave").start();
    let reason = host.failure("misbehave").unwrap_or_else(|| panic!("it started:\n{}", host.log()));
    assert_eq!(reason.replace(&format!("{}/", host.folder().display()), ""), sentence);
    let logged = host.logged(&reason);
    assert_eq!((&logged["level"], &logged["plugin"]), (&json!("ERROR"), &json!("misbehave")));

    assert_eq!(host.get("/ready").json()["plugins"], json!(["demo"]));
    let gone = host.call("misbehave.functions.echo", &json!({"data": ""}));
    assert_eq!(gone.problem().1, "not_found", "nothing of a plugin that did not start is published");
    let answer = host.call("demo.some.example_func", &json!({"id": 7, "user": {"id": 7, "name": "Ada"}}));
    assert_eq!((answer.status, answer.json()), (200, json!("7: Ada")));
    host.stop();
}

#[test]
fn on_start_panics() {
    check(
        Daemon::builder(),
        "start = \"panic\"",
        "plugin `misbehave` failed to start: it panicked: this plugin panics when it starts",
    );
}

#[test]
fn on_start_fails() {
    check(
        Daemon::builder(),
        "start = \"fail\"",
        "plugin `misbehave` failed to start: this plugin fails when it starts",
    );
}

#[test]
fn on_start_hangs() {
    check(
        Daemon::builder().config("reload.start_timeout_ms = 300"),
        "start = \"hang\"",
        "plugin `misbehave` did not start within 300 ms ([reload] start_timeout_ms)",
    );
}

#[test]
fn a_function_is_registered_twice() {
    check(
        Daemon::builder(),
        "start = \"register_twice\"",
        "plugin `misbehave` failed to start: function `misbehave.functions.echo` is registered \
         twice",
    );
}

#[test]
fn a_name_of_another_plugin_is_registered() {
    check(
        Daemon::builder(),
        "start = \"register_foreign\"",
        "plugin `misbehave` is not published: function `demo.some.example_func` is already registered by plugin `demo`",
    );
}

#[test]
fn the_config_of_a_plugin_has_a_key_that_it_does_not_know() {
    check(
        Daemon::builder(),
        "strat = \"canary-secret\"",
        "plugin `misbehave` failed to start: config.toml line 2: unknown key `strat`",
    );
}

#[test]
fn the_config_of_a_plugin_has_a_value_that_does_not_fit() {
    check(
        Daemon::builder(),
        "start = 7",
        "plugin `misbehave` failed to start: config.toml line 2: key `start`: invalid type: integer, expected string or \
         map",
    );
}

#[test]
fn a_value_that_may_be_a_secret_is_not_shown() {
    let host =
        Daemon::builder().config("plugins.misbehave.start = \"canary-secret\"").plugin("misbehave").start();
    let reason = host.failure("misbehave").unwrap();
    assert!(reason.starts_with("plugin `misbehave` failed to start: "), "{reason}");
    assert!(reason.contains("config.toml line 1: key `start`: "), "{reason}");
    assert!(!reason.contains("canary"), "{reason}");
    assert!(!host.log().contains("canary"), "{}", host.log());
    host.stop();
}

#[test]
fn all_faults_at_once_are_all_named() {
    let host = Daemon::builder()
        .config("plugins.misbehave.start = \"panic\"")
        .plugin("misbehave")
        .plugin("wrong_layout")
        .plugin_bytes("libempty.so", b"")
        .start();
    let ready = host.get("/ready").json();
    assert_eq!(ready["plugins"], json!([]));
    let named: Vec<&str> = ready["failed_plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failed| failed["plugin"].as_str().unwrap())
        .collect();
    assert_eq!(named, ["libempty.so", "misbehave", "wrong_layout"]);
    assert_eq!(host.get("/health").status, 200);
    host.stop();
}
