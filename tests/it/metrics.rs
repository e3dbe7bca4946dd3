//! `GET /metrics` on the admin listener.

use framex_tests::{Build, Daemon, frames};
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
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
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
