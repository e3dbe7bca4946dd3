//! The command line: text for people, JSON for scripts, and the exit code of how it went.

mod calling;
mod keys;
mod status;

use std::fs;
use std::process::Stdio;

use framex_tests::{ClosedPort, Daemon, Exit, host_binary, host_command, plugin_file, run_to_end};
use serde_json::{Value, json};

const DEMO: &str = "demo.some.example_func";
const ADA: &str = r#"{"id": 7, "user": {"id": 7, "name": "Ada"}}"#;

fn binary(arguments: &[&str]) -> Exit {
    run_to_end(host_command().args(arguments).stdin(Stdio::null()))
}

fn json_of(exit: &Exit) -> Value {
    serde_json::from_str(&exit.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", exit.stdout, exit.stderr))
}

fn check(exit: &Exit, code: i32, stdout: &str, stderr: &str) {
    assert_eq!(exit.code, Some(code), "{}{}", exit.stdout, exit.stderr);
    assert_eq!((exit.stdout.as_str(), exit.stderr.as_str()), (stdout, stderr));
}

#[test]
fn call_prints_the_result() {
    let host = Daemon::builder().config("host_id = \"only\"").plugin("demo").plugin("misbehave").start();
    check(&host.run(&["call", DEMO, "--json", ADA]), 0, "7: Ada\n", "");
    let exit = host.run(&["--output", "json", "call", DEMO, "--json", ADA]);
    assert_eq!(json_of(&exit), json!({"result": "7: Ada", "served_by": "only"}));
    check(&host.run(&["call", "misbehave.functions.with_defaults"]), 0, "[\n  null,\n  0,\n  42\n]\n", "");
    let url = host.url();
    check(&binary(&["call", DEMO, "--json", ADA, "--url", &url]), 0, "7: Ada\n", "");
    host.stop();
}

#[test]
fn a_call_that_fails_exits_with_1_and_says_why() {
    let host = Daemon::builder().plugin("demo").plugin("misbehave").start();
    let failed = host.run(&["call", "misbehave.functions.fails", "--json", "{\"id\": 7}"]);
    let says =
        "error: failed (no_such_user), HTTP status 422: there is no user 7, the nearest is 8 (request id ";
    let id = failed.stderr.strip_prefix(says).and_then(|rest| rest.strip_suffix(")\n"));
    assert!(id.is_some_and(|id| id.len() == 32) && failed.code == Some(1), "{}", failed.stderr);
    let scripted =
        host.run(&["call", "misbehave.functions.fails", "--json", "{\"id\": 7}", "--output", "json"]);
    assert_eq!(scripted.code, Some(1));
    assert_eq!(json_of(&scripted)["app_code"], "no_such_user");
    assert_eq!(json_of(&scripted)["executed"], true);
    assert_eq!(json_of(&scripted)["request_id"].as_str().map(str::len), Some(32));
    let unknown = host.run(&["call", "demo.some.exampel_func"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.starts_with("error: not_found, HTTP status 404: there is no function"),
        "{}",
        unknown.stderr
    );
    let late =
        host.run(&["call", "misbehave.functions.sleeps", "--json", "{\"ms\": 60000}", "--timeout-ms", "50"]);
    assert_eq!(late.code, Some(1));
    assert!(late.stderr.starts_with("error: deadline_exceeded, HTTP status 504: "), "{}", late.stderr);
    let wrong = host.run(&["call", DEMO, "--json", "{\"id\": \"seven\"}"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.starts_with("error: invalid_argument, HTTP status 400: "), "{}", wrong.stderr);
    let odd = host.run(&["call", "no such function"]);
    assert_eq!(odd.code, Some(2), "{}", odd.stderr);
    assert!(odd.stderr.contains("is the name of the function right?"), "{}", odd.stderr);
    host.stop();
}

#[test]
fn a_host_that_is_not_there_is_named() {
    let closed = ClosedPort::take();
    let url = closed.url();
    for command in [&["call", DEMO][..], &["functions"]] {
        let exit = binary(&[command, &["--url", &url]].concat());
        assert_eq!(exit.code, Some(1), "{}", exit.stderr);
        let expected = format!("error: {url} cannot be reached: Connection refused");
        assert!(exit.stderr.starts_with(&expected), "{}", exit.stderr);
        assert!(exit.stderr.contains("is the host running, and --url right?"), "{}", exit.stderr);
    }
    let exit = binary(&["functions", "--url", "not a url"]);
    check(&exit, 2, "", "error: --url: a peer's URL starts with http:// or https://\n");
}

#[test]
fn a_host_that_says_nothing_is_waited_for_until_shortly_after_the_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let exit = binary(&["call", DEMO, "--timeout-ms", "100", "--url", &url]);
    check(&exit, 1, "", &format!("error: {url} did not answer within 5 s\n"));
}

#[test]
fn what_is_no_name_is_not_taken_for_a_path() {
    let host = Daemon::builder().plugin("demo").start();
    for command in [&["explain"][..], &["plugins", "show"], &["plugins", "unload"]] {
        for name in ["demo?x", "demo.some.example_func?x", "demo/", "../functions", "..", ""] {
            let exit = host.run(&[command, &[name]].concat());
            check(&exit, 2, "", &format!("error: `{name}` is not a valid name\n"));
        }
    }
    assert_eq!(host.plugin_status("demo")["state"], "published");
    host.stop();
}

#[test]
fn functions_lists_what_can_be_called() {
    let host = Daemon::builder()
        .config(r#"plugins.proxy.proxy_urls = ["http://127.0.0.1:9"]"#)
        .config(r#"plugins.proxy.proxy_functions = { "http://127.0.0.1:9" = ["far.away"] }"#)
        .plugin("demo")
        .start();
    let exit = host.run(&["functions"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let rows: Vec<Vec<&str>> =
        exit.stdout.lines().map(|line| line.split_whitespace().take(4).collect()).collect();
    assert_eq!(rows[0], ["FUNCTION", "PLUGIN", "RUNS", "DESCRIPTION"]);
    assert_eq!(rows[1], [DEMO, "demo", "local", "Returns"]);
    assert_eq!(rows[2][..3], ["far.away", "-", "http://127.0.0.1:9"]);
    let scripted = json_of(&host.run(&["functions", "--output", "json"]));
    assert_eq!(scripted, host.get("/api/v1/functions").json());
    host.stop();
}

#[test]
fn check_names_every_plugin_that_fails() {
    let good = Daemon::builder().plugin("demo");
    let exit = good.run(&["check"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.contains(&format!("demo    0.1.0    {DEMO}  local")), "{}", exit.stdout);
    assert!(exit.stdout.contains("config.toml is good: the host would listen on "), "{}", exit.stdout);
    let state = good.folder().join("state");
    assert_eq!(fs::read_dir(state).unwrap().count(), 0, "a check leaves nothing behind");

    let bad = Daemon::builder()
        .config("plugins.misbehave.start = \"fail\"")
        .plugin_bytes("libempty.so", b"")
        .plugin("misbehave")
        .plugin("demo");
    let exit = bad.run(&["check"]);
    assert_eq!(exit.code, Some(1));
    assert_eq!(
        exit.stderr.lines().collect::<Vec<_>>(),
        [
            "error: plugin file `libempty.so` is empty",
            "error: plugin `misbehave` failed to start: this plugin fails when it starts"
        ]
    );
    let scripted = json_of(&bad.run(&["check", "--output", "json"]));
    assert_eq!((&scripted["ok"], &scripted["plugins"][0]["name"]), (&json!(false), &json!("demo")));
    let failed = &scripted["failed_plugins"];
    assert_eq!((&failed[0]["plugin"], &failed[0]["step"]), (&json!("libempty.so"), &json!("load")));
    assert_eq!((&failed[1]["plugin"], &failed[1]["step"]), (&json!("misbehave"), &json!("start")));
}

#[test]
fn inspect_reads_a_plugin_without_running_it() {
    let file = plugin_file("demo");
    let exit = binary(&["inspect", file.to_str().unwrap(), "--output", "json"]);
    let shown = json_of(&exit);
    assert_eq!((exit.code, &shown["name"], &shown["version"]), (Some(0), &json!("demo"), &json!("0.1.0")));
    assert_eq!((&shown["abi"], &shown["layout_check"]), (&json!("1.1"), &json!(true)));
    assert_eq!(shown["bytes"], fs::metadata(&file).unwrap().len());
    assert_eq!(shown["sha256"].as_str().unwrap().len(), 64);
    assert!(shown["built_with"].as_str().unwrap().starts_with("framex-sdk 0.1.0, rustc 1."), "{shown}");
    let text = binary(&["inspect", file.to_str().unwrap()]);
    assert!(text.stdout.contains("plugin        demo\n"), "{}", text.stdout);
    let missing = binary(&["inspect", "libnot-there.so"]);
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.stderr.starts_with("error: plugin file `libnot-there.so` cannot be opened: "),
        "{}",
        missing.stderr
    );
    let refused = binary(&["inspect", host_binary().to_str().unwrap()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("`framex-host` is "), "{}", refused.stderr);
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let exit = binary(&["completions", shell]);
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        for word in ["framex-host", "keygen", "inspect", "--output"] {
            let word = if shell == "fish" { word.trim_start_matches('-') } else { word };
            assert!(exit.stdout.contains(word), "{shell} lacks {word}");
        }
        // The scripts of the others complete names of flags alone.
        let has_values = ["bash", "zsh", "fish"].contains(&shell);
        assert_eq!(exit.stdout.contains("debug") && exit.stdout.contains("trace"), has_values, "{shell}");
    }
    assert_eq!(binary(&["completions", "tcsh"]).code, Some(2));
}

#[test]
fn help_names_every_command_and_bad_usage_exits_with_2() {
    let help = binary(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for word in
        ["run", "check", "call", "functions", "inspect", "keygen", "completions", "--config", "--port"]
    {
        assert!(help.stdout.contains(word), "help lacks {word}");
    }
    for command in ["run", "check", "call", "functions", "inspect", "keygen", "completions"] {
        let help = binary(&[command, "--help"]);
        assert_eq!(help.code, Some(0), "{}", help.stderr);
        assert!(help.stdout.contains("--output"), "{}", help.stdout);
    }
    assert_eq!(binary(&["--version"]).stdout, "framex-host 0.1.0\n");
    for usage in [
        &["serve"][..],
        &["--prot", "1"],
        &["--port", "70000"],
        &["call"],
        &["inspect"],
        &["check", "--output", "xml"],
        &["call", DEMO, "--timeout-ms", "soon"],
    ] {
        let exit = binary(usage);
        assert_eq!(exit.code, Some(2), "{usage:?}: {}", exit.stderr);
        assert!(exit.stderr.starts_with("error: ") && exit.stdout.is_empty(), "{usage:?}: {}", exit.stderr);
    }
    assert!(binary(&["serve"]).stderr.contains("unrecognized subcommand"));
}
