//! Another implementation of the wire, in another language, written from its document alone.

use std::path::Path;
use std::process::Command;

use framex_tests::{Daemon, Exit, frames, run_to_end};
use serde_json::{Value, json};

const PYTHON: &str = "/usr/bin/python3";
const PACKAGES: &str = "python3 python3-nacl python3-argon2 python3-msgpack python3-lz4";

/// Runs the client to its end.
fn client(arguments: &[&str]) -> Exit {
    let needs = format!("this test needs the Debian packages {PACKAGES}: apt-get install {PACKAGES}");
    assert!(Path::new(PYTHON).exists(), "{needs}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/client.py");
    let exit = run_to_end(Command::new(PYTHON).arg(script).args(arguments));
    assert_ne!(exit.code, Some(3), "{needs}\n{}", exit.stderr);
    exit
}

/// The client's output for a call, and its exit status.
fn call(host: &Daemon, secret: &str, function: &str, arguments: &Value) -> (Option<i32>, Value) {
    let arguments = arguments.to_string();
    let url = host.url();
    let exit = client(&["--url", &url, "--secret", secret, "--function", function, "--json", &arguments]);
    let printed = serde_json::from_str(&exit.stdout);
    let printed =
        printed.unwrap_or_else(|error| panic!("{error}:\n{}{}\n{}", exit.stdout, exit.stderr, host.log()));
    (exit.code, printed)
}

fn host(secret: &str) -> Daemon {
    let rules = frames::rules(&[secret]);
    Daemon::builder().config("host_id = \"b\"").config(&rules).plugin("demo").plugin("misbehave").start()
}

#[test]
fn the_other_implementation_agrees_with_the_vectors() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/tests-data/wire-vectors.json");
    let exit = client(&["--vectors", vectors.to_str().expect("the path is text")]);
    let printed: Value = serde_json::from_str(&exit.stdout).expect("it prints JSON");
    assert_eq!((exit.code, &printed["wrong"]), (Some(0), &json!([])), "{}", exit.stderr);
    assert!(printed["compared"].as_u64() >= Some(20), "{printed}");
}

#[test]
fn the_other_implementation_is_served_for_both_kinds_of_secret() {
    let ada = json!({"id": 7, "user": {"id": 7, "name": "Ada"}});
    for secret in ["Schlüssel mit Umlaut", frames::SECRET] {
        let host = host(secret);
        let expected = json!({"host": "b", "ok": true, "result": "7: Ada"});
        assert_eq!(call(&host, secret, "demo.some.example_func", &ada), (Some(0), expected));
        // Long enough to be sent compressed, and to come back.
        let name = "Ada ".repeat(2000);
        let ada = json!({"id": 7, "user": {"id": 7, "name": name}});
        let expected = json!({"host": "b", "ok": true, "result": format!("7: {name}")});
        assert_eq!(call(&host, secret, "demo.some.example_func", &ada), (Some(0), expected));
        host.stop();
    }
}

#[test]
fn the_other_implementation_reads_failures() {
    let host = host(frames::SECRET);
    let (exit, failed) = call(&host, frames::SECRET, "misbehave.functions.fails", &json!({"id": 7}));
    assert_eq!((exit, &failed["ok"]), (Some(1), &json!(false)));
    let error = &failed["error"];
    assert_eq!((&error["code"], &error["app_code"]), (&json!("failed"), &json!("no_such_user")));
    assert_eq!((&error["executed"], &error["details"]["NoSuchUser"]["nearest"]), (&json!(true), &json!(8)));

    let (exit, unknown) = call(&host, frames::SECRET, "demo.some.exampel_func", &json!({}));
    assert_eq!(exit, Some(1));
    let error = &unknown["error"];
    assert_eq!((&error["code"], &error["executed"]), (&json!("not_found"), &json!(false)));
    assert_eq!(error.get("app_code"), None, "only `failed` has it");

    let (exit, wrong) = call(&host, frames::SECRET, "demo.some.example_func", &json!({"id": "x"}));
    assert_eq!((exit, &wrong["error"]["code"]), (Some(1), &json!("invalid_argument")));
}

#[test]
fn the_other_implementation_is_refused_with_another_secret() {
    let host = host(frames::SECRET);
    let (exit, refused) = call(&host, frames::OTHER_SECRET, "misbehave.functions.sleeps", &json!({"ms": 0}));
    assert_eq!(exit, Some(2));
    let text = refused["refused"].as_str().unwrap_or_default();
    assert!(text.starts_with("the host answered with HTTP 401: "), "{refused}");
}

#[test]
fn the_other_implementation_says_hello_and_is_refused_elsewhere() {
    let host = host(frames::SECRET);
    let url = host.url();
    let exit = client(&[
        "--url",
        &url,
        "--secret",
        frames::SECRET,
        "--function",
        "misbehave.functions.counts",
        "--to",
        &"5c".repeat(16),
    ]);
    let printed: Value = serde_json::from_str(&exit.stdout).expect("it prints JSON");
    assert_eq!((exit.code, &printed["error"]["code"]), (Some(1), &json!("misdirected")));
    assert_eq!(printed["error"]["executed"], json!(false));
    let counted = call(&host, frames::SECRET, "misbehave.functions.counts", &json!({}));
    assert_eq!(counted, (Some(0), json!({"host": "b", "ok": true, "result": 1})));
}
