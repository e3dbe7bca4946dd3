//! `GET /metrics` on the admin listener.

use std::io::Write;
use std::process::{Command, Stdio};

use framex_tests::{Answer, Build, Daemon, frames};
use serde_json::json;

const BUILD: &str = "changing.functions.build";

#[test]
fn calls_are_counted_where_they_ran() {
    let b = Daemon::builder().build(Build::new(1)).config(&frames::rules(&[frames::SECRET])).start();
    let url = b.url();
    let routes = format!(
        "plugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.proxy_functions.{url:?} = [{BUILD:?}]\n"
    );
    let a = Daemon::builder()
        .plugin("misbehave")
        .config(&frames::rules(&[frames::SECRET]))
        .config(&routes)
        .start();
    for _ in 0..3 {
        assert_eq!(a.call(BUILD, &json!({})).status, 200);
    }
    assert_eq!(a.call("misbehave.functions.panics", &json!({"message": "boo"})).status, 500);
    assert_eq!(a.call("misbehave.functions.none", &json!({})).status, 404);
    assert_eq!(a.metric(&format!("framex_peer_calls_total{{peer=\"{url}\",outcome=\"ok\"}}")), 3.0);
    assert_eq!(a.metric(&format!("framex_peer_call_seconds_count{{peer=\"{url}\"}}")), 3.0);
    assert_eq!(b.metric(&format!("framex_function_calls_total{{function=\"{BUILD}\",outcome=\"ok\"}}")), 3.0);
    let panicked = "framex_function_calls_total{function=\"misbehave.functions.panics\",outcome=\"panic\"}";
    assert_eq!(a.metric(panicked), 1.0);
    assert_eq!(a.metric("framex_requests_refused_total{code=\"not_found\"}"), 1.0);
    assert!(
        b.metric("framex_replay_frames_remembered") == 4.0
            && b.metric("framex_replay_window_seconds") == 30.0
    );
    b.put_build(Build::new(2));
    assert_eq!(b.reload("changing").status, 200);
    assert_eq!(a.call(BUILD, &json!({})).status, 200);
    assert_eq!(b.metric(&format!("framex_function_calls_total{{function=\"{BUILD}\",outcome=\"ok\"}}")), 4.0);
    assert_eq!(b.metric("framex_plugin_generation{plugin=\"changing\"}"), 2.0);
}

#[test]
fn the_text_is_one_that_prometheus_reads() {
    let host = Daemon::builder().plugin("demo").start();
    assert_eq!(
        host.call("demo.some.example_func", &json!({"id": 1, "user": {"id": 1, "name": "Ada"}})).status,
        200
    );
    let metrics = host.metrics();
    assert!(!metrics.contains("# EOF"), "{metrics}");
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("framex_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert!(host.metric("framex_resident_memory_bytes") > 1e6);
    assert!(host.metric("framex_open_files") > 3.0);
    check_histograms(&metrics);
    let buckets = metrics.lines().filter(|line| line.starts_with("framex_function_call_seconds_bucket"));
    let counts: Vec<f64> = buckets.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(counts.is_sorted() && counts.last() == Some(&1.0), "{counts:?}");
}

fn scraped(host: &Daemon, accept: &str) -> Answer {
    host.admin_unix_raw(&format!("GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{accept}\r\n"))
}

#[test]
fn the_form_is_the_one_that_the_client_asks_for() {
    const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let host = Daemon::builder().plugin("demo").start();
    // What Prometheus 2.42 and 3.0 send.
    let older = "accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let newer = "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n";
    for (accept, expected) in [
        ("", PLAIN),
        ("accept: */*\r\n", PLAIN),
        ("accept: text/plain\r\n", PLAIN),
        ("accept: text/plain;version=0.0.4;q=0.5, application/openmetrics-text;q=0\r\n", PLAIN),
        ("accept: text/html\r\n", PLAIN),
        // Telegraf and VictoriaMetrics, which read no OpenMetrics.
        (
            "accept: application/vnd.google.protobuf;proto=x;q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.1\r\n",
            PLAIN,
        ),
        ("accept: text/plain;version=0.0.4;q=1,*/*;q=0.1\r\n", PLAIN),
        (older, OPENMETRICS),
        (newer, OPENMETRICS),
        ("accept: text/plain;q=0.1\r\naccept: application/openmetrics-text\r\n", OPENMETRICS),
    ] {
        let answer = scraped(&host, accept);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(expected)), "{accept}");
        let text = String::from_utf8(answer.body).unwrap();
        let is_openmetrics = expected == OPENMETRICS;
        assert_eq!(text.ends_with("# EOF\n"), is_openmetrics, "{accept}");
        let counter =
            if is_openmetrics { "framex_connections_accepted" } else { "framex_connections_accepted_total" };
        assert!(text.contains(&format!("# TYPE {counter} counter\n")), "{text}");
        assert!(text.contains("\nframex_connections_accepted_total 0\n"), "{text}");
    }
}

/// Returns what `promtool check metrics` reports for a host's metrics; nothing if it finds no fault.
fn faults(host: &Daemon) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: scripts/test.sh does that");
    promtool.stdin.take().unwrap().write_all(host.metrics().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() || !said.is_empty(), "{}", output.status);
    String::from_utf8(said).unwrap()
}

#[test]
fn promtool_finds_no_fault_in_any_metric() {
    let b = Daemon::builder().build(Build::new(1)).config(&frames::rules(&[frames::SECRET])).start();
    let url = b.url();
    let a = Daemon::builder()
        .plugin("misbehave")
        .config(&frames::rules(&[frames::SECRET]))
        .config(&format!(
            "plugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.proxy_functions = {{ {url:?} = [{BUILD:?}] }}"
        ))
        .config("limits.plugins.misbehave.in_flight_max = 4")
        .start();
    for function in [BUILD, "misbehave.functions.none"] {
        let _answer = a.call(function, &json!({}));
    }
    for function in ["misbehave.functions.counts", "misbehave.layers.layered"] {
        let _answer = a.call(function, &json!({}));
    }
    for host in [&a, &b] {
        assert_eq!(faults(host), "", "{}", host.metrics());
        let metrics = host.metrics();
        let of = |what: &str| metrics.lines().filter(|line| line.starts_with(what)).count();
        assert!(of("# HELP framex_") == of("# TYPE framex_") && of("# TYPE framex_") > 30, "{metrics}");
    }
}

#[test]
fn the_steps_of_times_are_those_that_prometheus_clients_have_and_finer_ones() {
    let host = Daemon::builder().plugin("misbehave").start();
    assert_eq!(host.call("misbehave.functions.sleeps", &json!({"ms": 1})).status, 200);
    let metrics = host.metrics();
    let steps = metrics.lines().filter(|line| {
        line.starts_with("framex_function_call_seconds_bucket")
            && line.contains("\"misbehave.functions.sleeps\"")
    });
    let steps: Vec<f64> = steps
        .map(|line| line.split_once("le=\"").unwrap().1.split_once('"').unwrap().0)
        .map(|step| step.parse().unwrap_or(f64::INFINITY))
        .collect();
    for step in [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0] {
        assert!(steps.contains(&step), "{step} is not one of {steps:?}");
    }
    assert!(steps.is_sorted() && steps.len() == 18, "{steps:?}");
}

/// Each histogram has a last step without a bound, which is as large as its count.
#[track_caller]
fn check_histograms(metrics: &str) {
    let of_type = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"));
    let mut series = 0;
    for name in of_type {
        let counts = metrics.lines().filter_map(|line| line.strip_prefix(&format!("{name}_count")));
        for (labels, count) in counts.map(|line| line.rsplit_once(' ').unwrap()) {
            let labels = labels.trim_start_matches('{').trim_end_matches('}');
            let bucket = format!("{name}_bucket{{");
            let steps = metrics.lines().filter_map(|line| line.strip_prefix(&bucket));
            let last = steps.filter(|step| step.contains("le=\"+Inf\"") && step.contains(labels));
            let last: Vec<&str> = last.map(|step| step.rsplit_once(' ').unwrap().1).collect();
            assert_eq!(last, [count], "{name} {labels}");
            series += 1;
        }
    }
    assert!(series > 0, "{metrics}");
}
