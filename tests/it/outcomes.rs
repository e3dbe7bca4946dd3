//! Outcomes of calls that began: results, the author's errors, panics, deadlines, limits, log lines.

use std::time::{Duration, Instant};

use framex_tests::{Answer, Daemon, send};
use serde_json::json;

const SLEEPS: &str = "misbehave.functions.sleeps";
const ONE_AT_A_TIME: &str = "misbehave.functions.one_at_a_time";

fn host() -> Daemon {
    Daemon::builder().plugin("demo").plugin("misbehave").start()
}

fn call_within(host: &Daemon, timeout_ms: &str, ms: u64) -> Answer {
    let headers = [("content-type", "application/json"), ("x-framex-timeout-ms", timeout_ms)];
    let url = format!("{}/api/v1/functions/{SLEEPS}", host.url());
    send("POST", &url, &headers, json!({ "ms": ms }).to_string().as_bytes())
}

/// Checks the status, code and `executed` of a failed call, and returns the detail.
fn check(answer: &Answer, status: u16, code: &str, executed: bool) -> String {
    let problem = answer.problem();
    assert_eq!((problem.0, problem.1.as_str()), (status, code), "{}", problem.2);
    assert_eq!(answer.json()["executed"], executed, "{}", problem.2);
    problem.2
}

#[test]
fn a_panic_is_the_callers_answer_and_not_the_hosts_end() {
    let host = host();
    let answer = host.call("misbehave.functions.panics", &json!({"message": "boom-4711"}));
    let detail = check(&answer, 500, "panic", true);
    assert_eq!(detail, "function `misbehave.functions.panics` panicked; the host's log has its message");
    host.wait_for_log("boom-4711");
    for _ in 0..20 {
        let answer = host.call("misbehave.functions.panics", &json!({"message": "again"}));
        check(&answer, 500, "panic", true);
    }
    assert_eq!(host.call(SLEEPS, &json!({"ms": 1})).json(), json!(1));
    assert_eq!(host.get("/health").status, 200);
    host.stop();
}

#[test]
fn panics_are_contained_at_every_stage_of_a_call() {
    let host = host();
    let later = host.call("misbehave.functions.panics", &json!({"message": "later-4711", "after_ms": 5}));
    check(&later, 500, "panic", true);
    host.wait_for_log("later-4711");
    let blocking = host.call("misbehave.functions.panics_blocking", &json!({"message": "blocking-4711"}));
    check(&blocking, 500, "panic", true);
    host.wait_for_log("blocking-4711");
    let url = format!("{}/api/v1/functions/misbehave.functions.panics_when_dropped", host.url());
    let headers = [("content-type", "application/json"), ("x-framex-timeout-ms", "50")];
    check(&send("POST", &url, &headers, b"{}"), 504, "deadline_exceeded", true);
    let dropped = host.logged("dropping a call panicked: this call panics when it is dropped");
    assert_eq!(dropped["level"], "ERROR");
    assert_eq!(host.call(SLEEPS, &json!({"ms": 1})).json(), json!(1), "the host goes on");
    host.stop();
}

#[test]
fn the_panic_message_and_the_call_are_on_one_line_of_the_log() {
    let host = host();
    let answer = host.call("misbehave.functions.panics", &json!({"message": "boom-4711"}));
    let line = host.logged("the function panicked");
    assert_eq!(line["function"], "misbehave.functions.panics");
    assert_eq!(line["panic"], "boom-4711");
    assert_eq!(line["request_id"].as_str(), answer.header("x-framex-request-id"));
    host.stop();
}

#[test]
fn the_authors_own_error_keeps_its_code_and_details() {
    let host = host();
    let answer = host.call("misbehave.functions.fails", &json!({"id": 7}));
    let detail = check(&answer, 422, "failed", true);
    assert_eq!(detail, "there is no user 7, the nearest is 8");
    assert_eq!(answer.json()["app_code"], "no_such_user");
    assert_eq!(answer.json()["details"], json!({"NoSuchUser": {"id": 7, "nearest": 8}}));
    let caught = host.call("misbehave.functions.catches_failure", &json!({"id": 7}));
    assert_eq!(caught.json(), json!("nearest is 8"), "a caller in the plugin matches on the type");
    host.stop();
}

#[test]
fn plugins_call_each_other_by_types() {
    let host = host();
    let answer = host.call("misbehave.functions.calls", &json!({"name": "Ada"}));
    assert_eq!(answer.json(), json!(["1: Ada", "2: Ada"]));
    host.stop();
    let alone = Daemon::builder().plugin("misbehave").start();
    let answer = alone.call("misbehave.functions.calls", &json!({"name": "Ada"}));
    let detail = check(&answer, 404, "not_found", true);
    assert!(detail.starts_with("there is no function `demo.some.example_func`"), "{detail}");
    alone.stop();
}

#[test]
fn a_function_without_its_state_is_unavailable() {
    let host = host();
    let answer = host.call("misbehave.functions.needs_state", &json!({}));
    let detail = check(&answer, 503, "unavailable", false);
    assert_eq!(
        detail,
        "this host's plugin was started without a `Missing`: give it one in its config, or have the function run on a \
         host that has one (plugins.proxy.proxy_functions)"
    );
    host.stop();
}

#[test]
fn a_blocking_function_answers() {
    let host = host();
    assert_eq!(host.call("misbehave.functions.blocks", &json!({"value": 21})).json(), json!(42));
    host.stop();
}

#[test]
fn the_callers_deadline_ends_the_call() {
    let host = host();
    let begin = Instant::now();
    let answer = call_within(&host, "100", 60_000);
    let detail = check(&answer, 504, "deadline_exceeded", true);
    assert_eq!(detail, "function `misbehave.functions.sleeps` did not end in time and was stopped");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let dropped = host.logged("dropped in its sleep");
    assert_eq!(dropped["request_id"].as_str(), answer.header("x-framex-request-id"));
    assert_eq!(
        call_within(&host, "18446744073709551615", 1).json(),
        json!(1),
        "the host's own limit is less"
    );
    for value in ["0", "-1", "1.5", "soon", "", "1 1"] {
        let (status, code, detail) = call_within(&host, value, 1).problem();
        assert_eq!((status, code.as_str()), (400, "invalid_argument"), "{value:?}");
        assert_eq!(detail, "the header x-framex-timeout-ms must be a whole number above 0");
    }
    host.stop();
}

#[test]
fn the_hosts_deadline_ends_the_call() {
    let host = Daemon::builder().config("server.call_timeout_ms = 100").plugin("misbehave").start();
    check(&host.call(SLEEPS, &json!({"ms": 60_000})), 504, "deadline_exceeded", true);
    check(&call_within(&host, "60000", 60_000), 504, "deadline_exceeded", true);
    host.stop();
}

#[test]
fn a_function_runs_as_often_as_it_says() {
    let host = host();
    let held = host.begin(ONE_AT_A_TIME, &json!({"ms": 60_000}));
    host.wait_for_log("begins to sleep");
    let answer = host.call(ONE_AT_A_TIME, &json!({"ms": 0}));
    let detail = check(&answer, 429, "overloaded", false);
    assert_eq!(
        detail,
        format!("function `{ONE_AT_A_TIME}` runs as many calls as it may, and its queue is full")
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(host.call(SLEEPS, &json!({"ms": 1})).status, 200, "others are not held up");
    // A caller that goes away cancels its call, and the place is free again.
    drop(held);
    host.wait_for_log("dropped in its sleep");
    let deadline = Instant::now() + Duration::from_secs(30);
    while host.call(ONE_AT_A_TIME, &json!({"ms": 0})).status != 200 {
        assert!(Instant::now() < deadline, "the place is not given back");
    }
    host.stop();
}

#[test]
fn the_host_runs_as_many_calls_as_it_may() {
    let limits = |queue_max: u32| format!("server.in_flight_max = 1\nserver.queue_max = {queue_max}");
    let host = Daemon::builder().config(&limits(0)).plugin("misbehave").start();
    let held = host.begin(SLEEPS, &json!({"ms": 60_000}));
    host.wait_for_log("begins to sleep");
    let answer = host.call(SLEEPS, &json!({"ms": 0}));
    let detail = check(&answer, 429, "overloaded", false);
    assert_eq!(detail, "the host runs as many calls as it may, and its queue is full");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(host.get("/ready").status, 200, "health is asked for past the limit");
    drop(held);
    host.stop();

    let host = Daemon::builder().config(&limits(1)).plugin("misbehave").start();
    let held = host.begin(SLEEPS, &json!({"ms": 60_000}));
    host.wait_for_log("begins to sleep");
    let detail = check(&call_within(&host, "100", 0), 504, "deadline_exceeded", false);
    assert_eq!(detail, "the time ran out while the call waited for a place");
    let queued = host.begin(SLEEPS, &json!({"ms": 7}));
    drop(held);
    assert_eq!(queued.answer().json(), json!(7), "it waited, and ran when the place came free");
    host.stop();
}

#[test]
fn log_lines_of_a_plugin_name_it_and_the_call() {
    let host = host();
    let answer = host.call("misbehave.functions.logs", &json!({"text": "canary"}));
    let request_id = answer.header("x-framex-request-id").unwrap();
    assert!(
        request_id.len() == 32 && request_id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{request_id}"
    );
    for (message, level) in [("an error", "ERROR"), ("an info", "INFO")] {
        let line = host.logged(message);
        assert_eq!(line["level"], level);
        assert_eq!(line["plugin"], "misbehave");
        assert_eq!(line["generation"], 1);
        assert_eq!(line["request_id"], request_id);
        assert_eq!(line["fields"], "text=\"canary\"");
        assert_eq!(line["module"], "misbehave::functions");
    }
    assert!(!host.log().contains("a debug"), "below the level of the log");
    host.stop();
    let loud = Daemon::builder().config("log.level = \"debug\"").plugin("misbehave").start();
    assert_eq!(loud.call("misbehave.functions.logs", &json!({"text": "x"})).status, 200);
    assert_eq!(loud.logged("a debug")["level"], "DEBUG");
    loud.stop();
}
