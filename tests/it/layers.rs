//! Layers of functions: what they see and do, and what becomes of a call when they fail.

use std::time::{Duration, Instant};

use framex_tests::{Daemon, DaemonBuilder, send};
use serde_json::{Value, json};

const LAYERED: &str = "misbehave.layers.layered";
const CALLS_LAYERED: &str = "misbehave.layers.calls_layered";
const SEEN: &str = "misbehave.layers.seen_by_layer";
const WARNING: &str = "layer `moody` of function `misbehave.layers.layered`";

fn host() -> DaemonBuilder {
    Daemon::builder().plugin("misbehave")
}

/// Sets what the layer does, and returns what it noted before and how often bodies ran.
#[track_caller]
fn set_mood(host: &Daemon, mood: &str) -> (Vec<String>, u64) {
    let answer = host.call("misbehave.layers.set_mood", &json!({ "mood": mood }));
    assert_eq!(answer.status, 200, "{}", answer.json());
    serde_json::from_value(answer.json()).unwrap()
}

/// Checks the result of a call under a mood, its events in order, and the number of runs of the body.
#[track_caller]
fn check(host: &Daemon, function: &str, mood: &str, status: u16, events: &[&str]) -> Value {
    let (_, before) = set_mood(host, mood);
    let answer = host.call(function, &json!({}));
    assert_eq!(answer.status, status, "{mood}: {}", answer.json());
    let (notes, runs) = set_mood(host, "good");
    assert_eq!(notes, events, "{mood}");
    let ran = events.iter().filter(|event| **event == "body").count() as u64;
    assert_eq!(runs - before, ran, "{mood}");
    answer.json()
}

fn failures(host: &Daemon) -> f64 {
    host.metric(&format!("framex_plugin_layer_failures_total{{plugin=\"misbehave\",function=\"{LAYERED}\"}}"))
}

const ALL: [&str; 4] = ["notes begins", "moody", "body", "notes ends, ok"];

#[test]
fn layers_run_in_order_and_may_change_refuse_and_answer() {
    let host = host().start();
    // The last one stays inside the plugin.
    for function in [LAYERED, "misbehave.layers.layered_blocking", CALLS_LAYERED] {
        let runs = check(&host, function, "good", 200, &ALL).as_u64().unwrap();
        assert_eq!(check(&host, function, "adds", 200, &ALL), json!(runs + 1 + 1000));
        let without_body = ["notes begins", "moody", "notes ends, ok"];
        assert_eq!(check(&host, function, "answers", 200, &without_body), json!(1000));
        let refused =
            check(&host, function, "refuses", 403, &["notes begins", "moody", "notes ends, failed"]);
        assert_eq!(
            (&refused["code"], &refused["detail"]),
            (&json!("permission_denied"), &json!("not in this mood"))
        );
        assert_eq!(refused["executed"], true, "it is not made again elsewhere");
    }
    assert_eq!(failures(&host), 0.0);
    assert!(!host.log().contains("layer `"));
    host.stop();
}

#[test]
fn a_failing_layer_neither_stops_the_body_nor_has_it_run_twice() {
    let host = host().start();
    let mut runs = 0;
    for mood in ["fails", "panics", "fails_after", "panics_after"] {
        for function in [LAYERED, CALLS_LAYERED] {
            runs += 1;
            assert_eq!(check(&host, function, mood, 200, &ALL), json!(runs), "{mood}");
        }
    }
    assert_eq!(failures(&host), 8.0, "{}", host.metrics());
    host.wait_for_log(WARNING);
    let text = "failed: bad mood; the function runs without it. More of this is counted in \
                framex_plugin_layer_failures_total, and not logged";
    let logged = host.logged(&format!("{WARNING} {text}"));
    assert_eq!((&logged["level"], &logged["plugin"]), (&json!("WARN"), &json!("misbehave")));
    host.stop();
}

#[test]
fn a_layer_that_hangs_is_left_out_after_its_part_of_the_time() {
    let host = host().config("server.layer_percent = 2").start();
    let begun = Instant::now();
    for (runs, function) in [(1, LAYERED), (2, CALLS_LAYERED)] {
        assert_eq!(
            check(&host, function, "hangs", 200, &ALL),
            json!(runs),
            "the body ran once, without the layer"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "2 % of 30 s each: {:?}", begun.elapsed());
    assert_eq!(failures(&host), 2.0, "{}", host.metrics());
    host.wait_for_log(&format!("{WARNING} did not come to the function within"));
    host.wait_for_log("([server] layer_percent); the function runs without it");
    // The share is of the time that a call has, and what a reload says.
    let config = std::fs::read_to_string(host.folder().join("config.toml")).unwrap();
    host.put_config(&config.replace("layer_percent = 2", "layer_percent = 100"));
    assert_eq!(host.reload_host().status, 200);
    set_mood(&host, "hangs");
    let answer = host.call_within(LAYERED, &json!({}), 500);
    assert_eq!(answer.problem().1, "deadline_exceeded", "100 % is all of it");
    assert_eq!(set_mood(&host, "good").1, 2, "the body did not run");
    host.stop();
}

#[test]
fn a_layer_that_holds_the_answer_back_ends_with_the_call() {
    let host = host().config("server.layer_percent = 1").start();
    set_mood(&host, "hangs_after");
    let answer = host.call_within(LAYERED, &json!({}), 1000);
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (504, "deadline_exceeded"));
    assert_eq!(detail, format!("function `{LAYERED}` did not end in time and was stopped"));
    assert_eq!((answer.json()["executed"].clone(), set_mood(&host, "good").1), (json!(true), 1));
    assert_eq!(failures(&host), 0.0, "it is not the time before the body that was too long");
    host.stop();
}

#[test]
fn the_warning_is_one_line_in_each_generation() {
    let host = host().start();
    for generation in 1..=2 {
        for _ in 0..5 {
            check(&host, LAYERED, "fails", 200, &ALL);
        }
        assert_eq!(failures(&host), 5.0);
        assert_eq!(
            host.call("misbehave.functions.logs", &json!({"text": format!("end-{generation}")})).status,
            200
        );
        host.wait_for_log(&format!("end-{generation}"));
        assert_eq!(host.log().matches(WARNING).count(), generation, "{}", host.log());
        assert_eq!(host.reload("misbehave").status, 200);
        assert_eq!(failures(&host), 0.0, "each generation counts its own");
    }
    host.stop();
}

#[test]
fn a_body_that_its_layer_gave_up_is_an_honest_error() {
    let host = host().start();
    set_mood(&host, "panics_during");
    let answer = host.call(LAYERED, &json!({"ms": 3_600_000}));
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (500, "internal"));
    let layer = "layer `moody` of function `misbehave.layers.layered`";
    assert_eq!(detail, format!("{layer} failed while the function ran, so its result is not known"));
    assert_eq!(answer.json()["executed"], true);
    host.wait_for_log("the body was dropped");
    let (notes, runs) = set_mood(&host, "good");
    assert_eq!(
        (notes, runs),
        (["notes begins", "moody", "body", "notes ends, failed"].map(str::to_owned).to_vec(), 1)
    );
    host.stop();
}

#[test]
fn a_caller_that_goes_away_drops_layers_and_body() {
    let host = host().start();
    let call = host.begin(LAYERED, &json!({"ms": 3_600_000}));
    host.wait_for_log("the body waits");
    drop(call);
    host.wait_for_log("the body was dropped");
    let (notes, _) = set_mood(&host, "good");
    assert_eq!(notes, ["notes begins", "moody", "body"]);
    assert_eq!(failures(&host), 0.0);
    host.stop();
}

#[test]
fn the_reports_plugin_logs_slow_queries() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("flights.db");
    let config = |slow_query_ms: u64| {
        format!(
            "plugins.reports = {{ database = {database:?}, create = true, slow_query_ms = {slow_query_ms} }}"
        )
    };
    let arguments = json!({"airport": "JFK", "date": "2013-01-04"});
    for (slow_query_ms, logged) in [(3_600_000, 0), (0, 1)] {
        let host = Daemon::builder().plugin("reports").config(&config(slow_query_ms)).start();
        let answer = host.call("reports.flights.day", &arguments);
        assert_eq!(answer.status, 200, "{}", answer.json());
        if logged > 0 {
            let line = host.logged("a slow query");
            assert_eq!(line["request_id"].as_str(), answer.header("x-framex-request-id"));
            assert!(line["fields"].as_str().unwrap().contains("reports.flights.day"), "{line}");
        }
        assert_eq!(host.log().matches("a slow query").count(), logged);
        host.stop();
    }
}

#[test]
fn a_layer_sees_who_calls_what_and_how_long_it_has() {
    let key = "ops-key-of-16-bytes";
    let host =
        host().config(&format!("auth.callers.ops = {{ keys = [{key:?}], functions = [\"*\"] }}")).start();
    let headers =
        [("content-type", "application/json"), ("authorization", key), ("x-framex-timeout-ms", "20000")];
    let answer = send("POST", &format!("{}/api/v1/functions/{SEEN}", host.url()), &headers, b"{}");
    let seen = answer.json();
    assert_eq!(answer.status, 200, "{seen}");
    assert_eq!(
        (&seen["function"], &seen["caller"], &seen["has_state"]),
        (&json!(SEEN), &json!("ops"), &json!(true))
    );
    assert_eq!(seen["request_id"].as_str(), answer.header("x-framex-request-id"));
    assert!((1..=20_000).contains(&seen["remaining_ms"].as_u64().unwrap()), "{seen}");
    host.stop();
}
