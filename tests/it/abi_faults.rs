//! A plugin that breaks the rules of the ABI: it is refused or its call fails, in words, and the host goes on.

use std::path::Path;

use framex_tests::{Answer, Daemon, broken, send};
use serde_json::json;

fn faults(flags: &[&str]) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let include = format!("-I{}", root.join("plugin-sdk/abi/include").display());
    let flags = [&["-std=c11", &include], flags].concat();
    broken::compile_c(&root.join("tests/c/faults.c"), &flags)
}

fn check_demo(host: &Daemon) {
    let answer = host.call("demo.some.example_func", &json!({"id": 7, "user": {"id": 7, "name": "Ada"}}));
    assert_eq!((answer.status, answer.json()), (200, json!("7: Ada")));
}

fn check(answer: &Answer, status: u16, code: &str, detail: &str) {
    assert_eq!(answer.problem(), (status, code.to_owned(), detail.to_owned()));
}

#[test]
fn faults_of_the_start_are_named() {
    let plugin = faults(&[]);
    let small = "a registration has 16 bytes, this host needs ";
    for (fault, reason) in [
        ("no_reason", "it answered status 2 without a reason"),
        ("odd_status", "it answered status 7 without a reason"),
        ("odd_reason", "\u{fffd} then text"),
        ("bad_name", "`no name!` is not the name of a function: a function name is 1 to 255 characters"),
        ("no_name", "`` is not the name of a function"),
        ("huge_name", "its function name has 1073741824 bytes, the most is 262144"),
        ("not_utf8", "its function name is not UTF-8"),
        ("bad_schema", "the schema of arguments of `faults.f` is not JSON: EOF"),
        ("no_code", "`faults.f` has no code"),
        ("small_struct", small),
        ("calls_early", "while its own on_start runs"),
    ] {
        let host = Daemon::builder()
            .config(&format!("plugins.faults.fault = \"{fault}\""))
            .plugin_bytes("libfaults.so", &plugin)
            .plugin("demo")
            .start();
        let found = host.failure("faults").unwrap_or_else(|| panic!("{fault} started"));
        assert!(found.starts_with("plugin `faults` failed to start: "), "{found}");
        assert!(found.contains(reason), "{fault}: {found:?} lacks {reason:?}");
        check_demo(&host);
        host.stop();
    }
}

#[test]
fn a_descriptor_without_code_is_named() {
    let host = Daemon::builder()
        .plugin_bytes("libfaults.so", &faults(&["-DWITHOUT_ON_START"]))
        .plugin("demo")
        .start();
    let reason = host.failure("faults").unwrap();
    assert_eq!(reason, "plugin `faults` failed to start: its descriptor has no on_start");
    check_demo(&host);
    host.stop();
}

#[test]
fn faults_of_a_call_are_the_answer_of_that_call() {
    let host = Daemon::builder().plugin_bytes("libfaults.so", &faults(&[])).plugin("demo").start();
    let call = |name: &str| host.call(&format!("faults.{name}"), &json!({}));
    for name in ["unknown_status", "pending_without_a_future", "unreadable_error", "empty_error"] {
        let answer = call(name);
        check(&answer, 500, "internal", &format!("function `faults.{name}` breaks the plugin ABI"));
        assert_eq!(answer.json()["executed"], true);
        host.wait_for_log("a plugin breaks the ABI: ");
    }
    host.wait_for_log("it answered status 99");
    host.wait_for_log("it suspended without a future");
    let panic = "function `faults.panic_that_is_no_text` panicked; the host's log has its message";
    check(&call("panic_that_is_no_text"), 500, "panic", panic);
    for name in ["unreadable_result", "no_result"] {
        let (status, code, detail) = call(name).problem();
        assert_eq!((status, code.as_str()), (500, "internal"), "{detail}");
        assert!(detail.starts_with("the function's result is not MessagePack: "), "{detail}");
    }
    let late = "`faults.late` is registered too late: functions are registered while on_start runs";
    assert_eq!(call("registers").json(), json!(late));
    assert_eq!(host.call("faults.late", &json!({})).status, 404);
    check(&call("calls_nothing"), 404, "not_found", "a function number that was never given out");
    check_demo(&host);
    host.stop();
}

#[test]
fn an_unreadable_result_is_not_passed_on_as_message_pack() {
    let host = Daemon::builder().plugin_bytes("libfaults.so", &faults(&[])).start();
    for name in ["unreadable_result", "no_result"] {
        let url = format!("{}/api/v1/functions/faults.{name}", host.url());
        let answer = send("POST", &url, &[("content-type", "application/msgpack")], b"\x80");
        let (status, code, _) = answer.problem();
        assert_eq!((status, code.as_str()), (500, "internal"), "{name}");
    }
    host.stop();
}
