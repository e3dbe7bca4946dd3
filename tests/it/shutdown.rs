//! The end of a daemon: calls in flight are answered, or given up at the drain deadline, or at a second signal.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use framex_tests::{Daemon, Pending};
use serde_json::json;

const SLEEPS: &str = "misbehave.functions.sleeps";

/// A daemon with a call of this number of milliseconds in flight.
fn busy(config: &str, ms: u64) -> (Daemon, Pending) {
    let host = Daemon::builder().config(config).plugin("misbehave").start();
    let call = host.begin(SLEEPS, &json!({ "ms": ms }));
    host.wait_for_log("begins to sleep");
    (host, call)
}

/// Waits until the listener is gone.
fn check_refuses_connections(host: &Daemon) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(host.address()).is_ok() {
        assert!(Instant::now() < deadline, "new connections are still accepted");
    }
}

fn check_drains(signal: &str) {
    let (mut host, call) = busy("", 700);
    host.signal(signal);
    let stopping = host.logged("stopping: calls in flight may end");
    assert_eq!(stopping["drain_timeout_ms"], 30_000);
    check_refuses_connections(&host);
    let answer = call.answer();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"700"[..]), "the call in flight is answered");
    assert_eq!(host.wait(), Some(0), "{}", host.log());
    let stopped = host.logged("misbehave stops");
    assert_eq!((&stopped["plugin"], &stopped["generation"]), (&json!("misbehave"), &json!(1)));
    assert!(!host.log().contains("dropped in its sleep"), "{}", host.log());
    assert_eq!(host.logged("stopped")["level"], "INFO");
}

#[test]
fn sigterm_drains() {
    check_drains("TERM");
}

#[test]
fn sigint_drains() {
    check_drains("INT");
}

#[test]
fn an_idle_connection_does_not_hold_the_end_up() {
    let mut host = Daemon::builder().plugin("demo").start();
    let idle = TcpStream::connect(host.address()).unwrap();
    assert_eq!(host.get("/health").status, 200);
    let begin = Instant::now();
    host.signal("TERM");
    assert_eq!(host.wait(), Some(0), "{}", host.log());
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}\n{}", begin.elapsed(), host.log());
    drop(idle);
}

#[test]
fn connections_that_wait_to_be_accepted_are_served() {
    for _ in 0..3 {
        let mut host = Daemon::builder().plugin("misbehave").start();
        // The system takes the connections and the requests in while the host stands still.
        host.signal("STOP");
        let calls: Vec<Pending> = (0..100).map(|_| host.begin(SLEEPS, &json!({ "ms": 1 }))).collect();
        host.signal("TERM");
        host.signal("CONT");
        for call in calls {
            let answer = call.answer();
            assert_eq!((answer.status, answer.body.as_slice()), (200, &b"1"[..]));
        }
        assert_eq!(host.wait(), Some(0), "{}", host.log());
    }
}

#[test]
fn past_the_drain_deadline_calls_are_dropped_and_the_end_is_a_good_one() {
    let (mut host, call) = busy("server.drain_timeout_ms = 200", 60_000);
    host.signal("TERM");
    assert_eq!(host.wait(), Some(0), "{}", host.log());
    let warning = host.logged("the drain deadline passed with calls in flight: they are dropped");
    assert_eq!((&warning["level"], &warning["connections"]), (&json!("WARN"), &json!(1)));
    let answer = call.answer();
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (503, "cancelled"), "{detail}");
    assert_eq!(answer.json()["executed"], true, "the function had begun");
    host.wait_for_log("dropped in its sleep");
    host.wait_for_log("misbehave stops");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second, code) in [("TERM", "TERM", 143), ("INT", "INT", 130), ("INT", "TERM", 143)] {
        let (mut host, call) = busy("", 60_000);
        host.signal(first);
        host.wait_for_log("stopping: calls in flight may end");
        host.signal(second);
        assert_eq!(host.wait(), Some(code), "{}", host.log());
        assert_eq!(host.logged("a second signal: ending at once")["level"], "WARN");
        assert!(call.try_answer().is_none());
    }
}

#[test]
fn a_signal_before_it_is_ready_ends_it() {
    for (signal, number, code) in [("TERM", 15, 143), ("INT", 2, 130)] {
        let host = Daemon::builder().config("plugins.misbehave.start = \"hang\"").plugin("misbehave");
        let mut host = host.start_until("hangs in on_start");
        host.signal(signal);
        assert_eq!(host.wait(), Some(code), "{}", host.log());
        host.wait_for_log(&format!("error: stopped by signal {number} before it was ready"));
    }
}

#[test]
fn a_host_that_was_killed_leaves_nothing_in_the_way_of_the_next() {
    let mut host = Daemon::builder().plugin("demo").start();
    let state = host.folder().join("state");
    host.signal("KILL");
    assert_eq!(host.wait(), None);
    let next = Daemon::builder().config(&format!("state_dir = {state:?}")).plugin("demo").start();
    let answer = next.call("demo.some.example_func", &json!({"id": 7, "user": {"id": 7, "name": "Ada"}}));
    assert_eq!(answer.json(), json!("7: Ada"));
    assert_eq!(
        std::fs::read_dir(state.join("staged")).unwrap().count(),
        1,
        "what the killed one left is gone"
    );
    next.stop();
}

/// The host also gives up, with an answer, a call that a peer runs and does not stop.
#[test]
fn past_the_drain_deadline_calls_at_peers_are_answered() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let config = format!(
        "server.drain_timeout_ms = 200\nplugins.proxy.proxy_urls = [\"{url}\"]\n\
         plugins.proxy.proxy_functions = {{\"{url}\" = [\"there.only\"]}}\n\
         [plugins.proxy.auth]\nrules = {{\"/api/v1/proxy/remote\" = [\"c2l4dGVlbiBieXRlcyBhbmQgc29tZSBtb3Jl\"]}}\n"
    );
    let mut host = Daemon::builder().config(&config).start();
    let call = host.begin("there.only", &json!({}));
    framex_tests::until("the call runs", || {
        host.metric(&format!("framex_peer_calls_running{{peer=\"{url}\"}}")) == 1.0
    });
    // A body that never comes.
    let half = "POST /api/v1/functions/there.only HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
                content-length: 10\r\n\r\n{";
    let mut stream = TcpStream::connect(host.address()).unwrap();
    std::io::Write::write_all(&mut stream, half.as_bytes()).unwrap();
    // Both are taken before the end begins: the host takes requests for a while after a signal.
    host.signal("TERM");
    let answer = call.answer();
    let (status, _, detail) = answer.problem();
    assert_eq!(status, 503, "{detail}");
    assert_ne!(answer.json()["executed"], true, "{detail}");
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut refused = String::new();
    std::io::Read::read_to_string(&mut stream, &mut refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("\"executed\":false"), "{refused}");
    assert_eq!(host.wait(), Some(0), "{}", host.log());
}

#[test]
fn after_sigterm_the_host_serves_on_and_says_that_it_is_not_ready() {
    let builder = Daemon::builder().plugin("misbehave");
    let mut host = builder.variable("FRAMEX_SERVER__SHUTDOWN_DELAY_MS", "3000").start();
    assert_eq!(host.run(&["ready"]).stdout, "the host is ready\n");
    let begun = Instant::now();
    host.signal("TERM");
    let stopping = host.logged("stopping: not ready any more, and still serving for a while");
    assert_eq!(stopping["shutdown_delay_ms"], 3000);
    let ready = host.get("/ready");
    assert_eq!((ready.status, &ready.json()["status"]), (503, &json!("stopping")));
    assert_eq!(host.admin_get_at("/ready").status, 503);
    assert_eq!(host.get("/health").status, 200);
    // A connection that is new gets an answer, and is told to make another one for the next call.
    let answer = host.call(SLEEPS, &json!({ "ms": 1 }));
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let probed = host.run(&["ready"]);
    assert_eq!(probed.code, Some(1), "{}", probed.stdout);
    assert!(
        probed.stderr.starts_with("error: the host is not ready: the host was told to stop"),
        "{}",
        probed.stderr
    );
    assert_eq!(host.wait(), Some(0), "{}", host.log());
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    let gone = host.run(&["ready"]);
    assert_eq!(gone.code, Some(1), "{}", gone.stderr);
}

#[test]
fn the_delay_is_reloaded_and_ctrl_c_does_not_wait_for_it() {
    let delayed = || {
        let builder = Daemon::builder().plugin("misbehave");
        builder.variable("FRAMEX_SERVER__SHUTDOWN_DELAY_MS", "600000").start()
    };
    let mut host = delayed();
    host.signal("INT");
    assert_eq!(host.wait(), Some(0), "{}", host.log());
    let mut host = delayed();
    host.signal("TERM");
    host.wait_for_log("still serving for a while");
    host.signal("TERM");
    assert_eq!(host.wait(), Some(143), "a second signal ends it at once");
}
