//! `x-framex-served-by` names the host that a function's body ran on, and is there only if one ran.

use framex_tests::{Answer, ClosedPort, Daemon, frames, send};
use serde_json::json;

const ECHO: &str = "misbehave.functions.echo";
const FAILS: &str = "misbehave.functions.fails";

fn by(answer: &Answer) -> Option<&str> {
    assert!(answer.header("x-framex-request-id").is_some(), "each call has an id");
    answer.header("x-framex-served-by")
}

#[test]
fn only_calls_whose_function_ran_say_where() {
    let host = Daemon::builder()
        .config("host_id = \"here\"\nserver.body_bytes_max = 4096")
        .plugin("misbehave")
        .start();
    let ran = host.call(ECHO, &json!({"data": "eA=="}));
    assert_eq!((ran.status, by(&ran)), (200, Some("here")));
    let failed = host.call(FAILS, &json!({"id": 1}));
    assert_eq!((failed.status, by(&failed)), (422, Some("here")));
    let panicked = host.call("misbehave.functions.panics", &json!({"message": "x"}));
    assert_eq!((panicked.status, by(&panicked)), (500, Some("here")));
    let late = host.call_within("misbehave.functions.sleeps", &json!({"ms": 60_000}), 50);
    assert_eq!((late.status, by(&late)), (504, Some("here")));
    for (function, arguments, status) in [
        ("there.is.none", json!({}), 404),
        ("no such name", json!({}), 404),
        (ECHO, json!({"data": 7}), 400),
        (ECHO, json!([]), 400),
        (ECHO, json!({"data": "x".repeat(8192)}), 413),
    ] {
        let function = function.replace(' ', "!");
        let refused = host.call(&function, &arguments);
        assert_eq!((refused.status, by(&refused)), (status, None), "{function} {}", refused.json());
    }
    let url = format!("{}/api/v1/functions/{ECHO}", host.url());
    assert_eq!(by(&send("POST", &url, &[("content-type", "text/plain")], b"x")), None);
    host.stop();
}

#[test]
fn a_peer_that_refuses_is_not_named_and_one_that_ran_the_call_is() {
    let b = Daemon::builder()
        .config("host_id = \"b\"")
        .config(&frames::rules(&[frames::SECRET]))
        .plugin("misbehave");
    let b = b.start();
    let gone = ClosedPort::take();
    let a = Daemon::builder()
        .config("host_id = \"a\"")
        .config(&frames::rules(&[frames::SECRET]))
        .config(&format!(
            "plugins.proxy.proxy_urls = [{b:?}, {gone:?}]\n\
             plugins.proxy.proxy_functions = {{ {b:?} = [{ECHO:?}, {FAILS:?}, \"there.is.none\"], {gone:?} = [\"far.f\"] }}",
            b = b.url(),
            gone = gone.url()
        ))
        .start();
    let ran = a.call(ECHO, &json!({"data": "eA=="}));
    assert_eq!((ran.status, by(&ran)), (200, Some("b")));
    let failed = a.call(FAILS, &json!({"id": 1}));
    assert_eq!((failed.status, by(&failed)), (422, Some("b")));
    let none = a.call("there.is.none", &json!({}));
    assert_eq!((none.status, &none.json()["executed"], by(&none)), (404, &json!(false), None));
    let bad = a.call(ECHO, &json!({"data": 7}));
    assert_eq!((bad.status, &bad.json()["executed"], by(&bad)), (400, &json!(false), None));
    let away = a.call("far.f", &json!({}));
    assert_eq!((away.status, &away.json()["executed"], by(&away)), (503, &json!(false), None));
}
