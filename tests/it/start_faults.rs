//! Plugins whose `on_start` goes wrong: nothing of them is published, the reason is named, and the host goes on.

use std::fs;
use std::path::Path;

use framex_tests::{Daemon, DaemonBuilder, broken};
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

#[test]
fn on_start_calls_another_plugin() {
    let refused = "plugin `misbehave` calls `changing.functions.build` while its own on_start runs, and can call others \
                   only once that has returned: call it from a function, or from a task that on_start begins and that waits";
    // Whether the other one is there or not.
    for there in [false, true] {
        let builder = Daemon::builder();
        let builder = if there { builder.build(framex_tests::Build::new(1)) } else { builder };
        let host = builder.config("plugins.misbehave.start = \"calls\"").plugin("misbehave").start();
        let reason = host.failure("misbehave").unwrap();
        assert!(reason.ends_with(refused), "{reason}");
        host.stop();
    }
    check(
        Daemon::builder().config("reload.start_timeout_ms = 500"),
        "start = \"calls_until_it_answers\"",
        "plugin `misbehave` did not start within 500 ms ([reload] start_timeout_ms): it called \
         `changing.functions.build`, and calls of other plugins are refused until on_start has returned",
    );
}

#[test]
fn output_of_a_plugin_is_not_part_of_a_result() {
    let host = Daemon::builder().config("plugins.misbehave.start = \"prints\"").plugin("misbehave");
    let checked = host.run(&["--output", "json", "check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let json: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!((&json["ok"], &json["plugins"][0]["name"]), (&json!(true), &json!("misbehave")));
    assert!(checked.stderr.contains("does not come from the host"), "{}", checked.stderr);
    let checked = host.run(&["check"]);
    assert!(!checked.stdout.contains("does not come from the host"), "{}", checked.stdout);
    let file = host.plugins().join("libmisbehave.so");
    let inspected = host.run(&["--output", "json", "inspect", file.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!(json["name"], "misbehave");
}

/// A library that keeps this number of bytes in the static block of thread-locals.
fn with_static_thread_locals(bytes: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.c");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = format!(
        "#include \"{}\"\nstatic __thread volatile char block[{bytes}] __attribute__((tls_model(\"initial-exec\")));\n\
         __attribute__((constructor)) static void touch(void) {{ block[0] = 1; }}\n",
        tests.join("c/plugin.c").display()
    );
    fs::write(&source, text).unwrap();
    let include = format!("-I{}", tests.join("../plugin-sdk/abi/include").display());
    broken::compile_c(&source, &["-std=c11", &include])
}

#[test]
fn static_thread_locals_that_run_out_are_explained_and_can_be_had() {
    let library = with_static_thread_locals(400);
    let host = Daemon::builder().plugin_bytes("libtiny.so", &library).plugin("demo").start();
    let mut refused = None;
    for _ in 0..20 {
        let answer = host.admin_post("plugins/tiny/reload", &json!({}));
        if answer.status != 200 {
            refused = Some(answer.problem().2);
            break;
        }
    }
    let refused = refused.expect("the system has less than that");
    assert!(refused.contains("cannot allocate memory in static TLS block"), "{refused}");
    assert!(refused.contains("GLIBC_TUNABLES=glibc.rtld.optional_static_tls=65536"), "{refused}");
    assert!(refused.contains("-ftls-model=global-dynamic"), "{refused}");
    let argument = json!({ "id": 7 });
    assert_eq!(host.call("tiny.echo", &argument).json(), argument, "what served goes on");
    host.stop();

    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/framex-host.service");
    let unit = fs::read_to_string(unit).unwrap();
    let tunables = unit.lines().find_map(|line| line.strip_prefix("Environment=GLIBC_TUNABLES="));
    let host = Daemon::builder()
        .variable("GLIBC_TUNABLES", tunables.expect("the unit sets it"))
        .plugin_bytes("libtiny.so", &library)
        .start();
    for _ in 0..60 {
        assert_eq!(host.admin_post("plugins/tiny/reload", &json!({})).status, 200, "{}", host.log());
    }
    host.stop();
}
