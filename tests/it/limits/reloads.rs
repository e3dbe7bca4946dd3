//! Limits of the host while its config is replaced: who runs and who waits goes on counting.

use std::fs;

use framex_tests::{Answer, Daemon, until};
use serde_json::json;

use super::host;

const HOLDS: &str = "misbehave.functions.sleeps";

/// Reloads with other lines in `[server]`.
#[track_caller]
fn reload_with(host: &Daemon, config: &str, server: &str) {
    host.put_config(&format!("{config}{server}"));
    let answer = host.reload_host();
    assert_eq!((answer.status, &answer.json()["restart_required"]), (200, &json!([])), "{}", answer.json());
}

/// A call that takes no time of its own.
fn call(host: &Daemon) -> Answer {
    host.call(HOLDS, &json!({"ms": 0}))
}

/// A call is answered a moment before its place is free.
#[track_caller]
fn check_counted(host: &Daemon, in_flight: f64, queued: f64) {
    until(&format!("{in_flight} run and {queued} wait"), || {
        (host.metric("framex_calls_in_flight"), host.metric("framex_calls_queued")) == (in_flight, queued)
    });
}

#[test]
fn calls_that_run_over_a_reload_count_against_every_later_limit() {
    let daemon = host("").start();
    let config = fs::read_to_string(daemon.folder().join("config.toml")).unwrap();
    let in_flight_max = |most: usize| format!("in_flight_max = {most}\nqueue_max = 0\n");
    reload_with(&daemon, &config, &in_flight_max(1));
    let held = daemon.begin(HOLDS, &json!({"ms": 60_000}));
    until("it runs", || daemon.metric("framex_calls_in_flight") == 1.0);
    // What has nothing to do with it, what is made of the same numbers, and nothing at all.
    for more in
        ["nesting_max = 63\n", "expansion_max = 7\nnesting_max = 62\n", "body_bytes_max = 2097152\n", ""]
    {
        reload_with(&daemon, &config, &format!("{}{more}", in_flight_max(1)));
        assert_eq!(call(&daemon).status, 429, "after {more:?}");
        check_counted(&daemon, 1.0, 0.0);
    }
    // More, and fewer again.
    for (most, status) in [(2, 200), (1, 429), (3, 200), (1, 429)] {
        reload_with(&daemon, &config, &in_flight_max(most));
        assert_eq!(call(&daemon).status, status, "with {most}");
        check_counted(&daemon, 1.0, 0.0);
    }
    drop(held);
    until("it has ended", || daemon.metric("framex_calls_in_flight") == 0.0);
    assert_eq!(call(&daemon).status, 200, "its place came back");
}

#[test]
fn calls_that_wait_over_a_reload_get_their_places() {
    let daemon = host("").start();
    let config = fs::read_to_string(daemon.folder().join("config.toml")).unwrap();
    reload_with(&daemon, &config, "in_flight_max = 1\nqueue_max = 2\n");
    let held = daemon.begin(HOLDS, &json!({"ms": 60_000}));
    until("it runs", || daemon.metric("framex_calls_in_flight") == 1.0);
    let waits = [0, 1].map(|_| daemon.begin(HOLDS, &json!({"ms": 0})));
    until("they wait", || daemon.metric("framex_calls_queued") == 2.0);
    // They stay, although the queue is gone and no other call may enter it.
    reload_with(&daemon, &config, "in_flight_max = 1\nqueue_max = 0\nnesting_max = 63\n");
    check_counted(&daemon, 1.0, 2.0);
    assert_eq!(call(&daemon).status, 429);
    // A reload that is refused changes nothing of it.
    daemon.put_config(&format!("{config}in_flight_max = 9\n[plugins.misbehave]\nstart = \"fail\"\n"));
    assert_eq!(daemon.reload_host().status, 422);
    check_counted(&daemon, 1.0, 2.0);
    reload_with(&daemon, &config, "in_flight_max = 2\nqueue_max = 0\n");
    for waited in waits {
        assert_eq!(waited.answer().status, 200);
    }
    check_counted(&daemon, 1.0, 0.0);
    drop(held);
    until("it has ended", || daemon.metric("framex_calls_in_flight") == 0.0);
    assert_eq!(call(&daemon).status, 200);
}
