//! The admin socket: what it takes for a request, from whom, and how the commands find it.

use std::process::{Command, Stdio};

use framex_tests::{Build, Daemon, host_binary, run_to_end};
use serde_json::{Value, json};

#[test]
fn bodies_are_objects_or_nothing() {
    let host = Daemon::builder().build(Build::new(1)).start();
    let paths =
        ["plugins/changing/reload", "plugins/changing/rollback", "plugins/changing/unload", "plugins"];
    for path in paths {
        for body in [json!([]), json!([true]), json!(["libchanging.so"]), json!(null), json!("x"), json!(1)] {
            let (status, code, detail) = host.admin_post(path, &body).problem();
            assert_eq!((status, code.as_str()), (400, "invalid_argument"), "{path} {body}: {detail}");
            assert_eq!(detail, "the body must be a JSON object", "{path} {body}");
        }
        let (status, code, _) = host.admin_post(path, &json!({ "unknown": 1 })).problem();
        assert_eq!((status, code.as_str()), (400, "invalid_argument"), "{path}");
    }
    assert_eq!(host.plugin_status("changing")["generation"], 1);
    assert_eq!(host.reload("changing").json()["generation"], 2);
    assert_eq!(host.admin_post("plugins/changing/unload", &json!({})).status, 200);
    host.stop();
}

#[test]
fn a_change_by_a_process_that_a_plugin_started_is_refused_at_once() {
    let host = Daemon::builder().plugin("misbehave").start();
    let config = host.folder().join("config.toml").to_str().unwrap().to_owned();
    let binary = host_binary().to_str().unwrap().to_owned();
    let reload = [&binary, "--config", &config, "plugins", "reload", "misbehave"];
    // The shell goes on after it, so that it stays the parent.
    let by_shell = ["sh", "-c", "\"$0\" \"$@\"; exit $?"];
    for command in [reload.to_vec(), [&by_shell[..], &reload[..]].concat()] {
        let answer = host.call("misbehave.functions.runs_process", &json!({ "command": command }));
        assert_eq!(answer.status, 200, "{}", answer.json());
        let (code, error) = (&answer.json()[0], answer.json()[1].as_str().unwrap().to_owned());
        assert_eq!(*code, 1, "{error}");
        assert!(
            error.contains("permission_denied: a change of plugins was asked for from inside"),
            "{error}"
        );
    }
    let list = [&binary, "--config", &config, "plugins", "list"];
    let answer = host.call("misbehave.functions.runs_process", &json!({ "command": list }));
    assert_eq!(answer.json()[0], 0, "to look is allowed: {}", answer.json());
    assert_eq!(host.plugin_status("misbehave")["generation"], 1);
    let outside = host.run(&["plugins", "reload", "misbehave"]);
    assert_eq!(outside.code, Some(0), "{}", outside.stderr);
    host.stop();
}

#[test]
fn commands_need_no_secret_of_the_daemon() {
    let host = Daemon::builder()
        .config("auth.rules = { \"/api/v1/openapi.json\" = [\"env:CALLER_KEY\"] }")
        .config("plugins.proxy.auth.rules = { \"/api/v1/proxy/remote\" = [\"file:proxy.key\"] }")
        .config("admin.socket = \"elsewhere.sock\"")
        .variable("CALLER_KEY", "k");
    let key = host.folder().join("proxy.key");
    std::fs::write(&key, "fxk1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    let host = host.plugin("demo").start();
    // As for a user who may read the config and not the keys.
    std::fs::remove_file(key).unwrap();
    for arguments in [&["plugins", "list"][..], &["peers"], &["explain", "demo.some.example_func"]] {
        let exit = host.run(arguments);
        assert_eq!(exit.code, Some(0), "{arguments:?}: {}", exit.stderr);
    }
    // `functions` and `call` look for the public listener in the same way.
    let port = host.address().rsplit_once(':').unwrap().1.to_owned();
    let mut command = Command::new(host_binary());
    command.env_clear().env("FRAMEX_SERVER__PORT", port).stdin(Stdio::null());
    command.arg("--config").arg(host.folder().join("config.toml"));
    let exit = run_to_end(command.args(["functions", "--output", "json"]));
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let catalogue: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(catalogue["functions"][0]["name"], "demo.some.example_func");
    let refused = host.run(&["check"]);
    assert_eq!(refused.code, Some(2), "what starts plugins needs all of it: {}", refused.stderr);
    host.stop();
}

#[test]
fn variables_say_where_the_socket_is_to_commands_as_well() {
    let elsewhere = tempfile::tempdir().unwrap();
    let socket = elsewhere.path().join("x.sock");
    let host = Daemon::builder().variable("FRAMEX_ADMIN__SOCKET", socket.to_str().unwrap()).start();
    let run = |variable: Option<&str>| {
        let mut command = Command::new(host_binary());
        command.env_clear().stdin(Stdio::null());
        command.envs(variable.map(|socket| ("FRAMEX_ADMIN__SOCKET", socket)));
        run_to_end(command.arg("--config").arg(host.folder().join("config.toml")).args(["plugins", "list"]))
    };
    let found = run(socket.to_str());
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    let not_found = run(None);
    assert_eq!(not_found.code, Some(1), "{}", not_found.stderr);
    assert!(not_found.stderr.contains("no host answers on "), "{}", not_found.stderr);
    host.stop();
}
