//! Trouble at one peer stays there: calls to it, and calls that wait for it, keep no other call from running.

mod flapping;
mod latency;
mod within;

use std::time::{Duration, Instant};

use framex_tests::{Answer, ClosedPort, Daemon, DaemonBuilder, FreeAddress, Pending, frames, until};
use serde_json::{Value, json};

use super::balancing::{IDEMPOTENT, ONCE, server};

/// A function that runs on the caller's host.
const LOCAL: &str = "misbehave.functions.with_defaults";
/// The time limit for an answer that needs no waiting, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);
/// Few enough that they can all be taken: 4 for each peer, 12 for each function.
const NARROW: &str = "server.in_flight_max = 16\nserver.queue_max = 0";

/// Host `a`, whose functions run at these URLs.
fn host(far: &[(&str, &[&str])], extra: &str) -> DaemonBuilder {
    host_of("a", far, extra)
}

fn host_of(id: &str, far: &[(&str, &[&str])], extra: &str) -> DaemonBuilder {
    let urls: Vec<&str> = far.iter().map(|(url, _)| *url).collect();
    let mut config = format!("{extra}\nplugins.proxy.proxy_urls = {urls:?}\n");
    for (url, functions) in far {
        config.push_str(&format!("plugins.proxy.proxy_functions.{url:?} = {functions:?}\n"));
    }
    server(id).config(&config)
}

/// Stops a host where it stands: it goes on to accept connections and answers nothing. A signal takes its time to reach
/// all threads.
fn hang(host: &Daemon) {
    host.signal("STOP");
    until("all of its threads have stopped", || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", host.pid())).expect("the daemon runs");
        threads.map_while(Result::ok).all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        })
    });
}

/// A host whose counts take a moment, so that calls of them meet.
fn slow_server(id: &str) -> Daemon {
    server(id).config("plugins.misbehave.slow_ms = 300").start()
}

/// Opens `count` connections to the peers that calls of `function` go to, each of which was answered: calls over
/// them wait until their deadline, whereas a new connection is given up once its hello is not answered.
fn connect(host: &Daemon, function: &str, count: usize) {
    let calls: Vec<Pending> = begin(host, function, count);
    calls.into_iter().for_each(|call| assert_eq!(call.answer().status, 200));
}

/// This number of calls in flight; each may take an hour, as far as its caller is concerned.
fn begin(host: &Daemon, function: &str, count: usize) -> Vec<Pending> {
    (0..count).map(|_| host.begin(function, &json!({}))).collect()
}

/// Local calls run, each at once.
#[track_caller]
fn check_local_calls(host: &Daemon) {
    for _ in 0..40 {
        let begun = Instant::now();
        let answer = host.call(LOCAL, &json!({}));
        assert_eq!(answer.status, 200, "{:?}", answer.problem());
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }
}

#[track_caller]
fn check_refused(answer: &Answer, status: u16, code: &str, part: &str) {
    let (found, found_code, detail) = answer.problem();
    assert_eq!(
        (found, found_code.as_str(), &answer.json()["executed"]),
        (status, code, &json!(false)),
        "{detail}"
    );
    assert!(detail.contains(part), "{detail}");
}

fn metric_of(host: &Daemon, name: &str, url: &str) -> f64 {
    host.metric(&format!("framex_peer_{name}{{peer=\"{url}\"}}"))
}

fn limits_reached(host: &Daemon, url: &str, limit: &str) -> f64 {
    host.metric(&format!("framex_peer_limits_reached_total{{peer=\"{url}\",limit=\"{limit}\"}}"))
}

fn explained(host: &Daemon, function: &str) -> String {
    host.admin_get(&format!("explain/{function}")).json()["because"].to_string()
}

#[test]
fn a_dead_peer_holds_up_its_own_calls_only_and_those_not_for_long() {
    let nowhere = ClosedPort::take();
    let url = nowhere.url();
    let a = host(&[(&url, &[IDEMPOTENT, ONCE])], NARROW).start();
    for function in [IDEMPOTENT, ONCE] {
        let begun = Instant::now();
        let calls = begin(&a, function, 40);
        until("calls wait for the peer", || metric_of(&a, "calls_waiting", &url) >= 1.0);
        check_local_calls(&a);
        assert!(metric_of(&a, "calls_waiting", &url) <= 4.0);
        for call in calls {
            let answer = call.answer();
            // The first calls had no room to find out that it is gone.
            let code = answer.problem().1;
            assert!(matches!(code.as_str(), "unavailable" | "overloaded"), "{code}");
            assert_eq!(answer.json()["executed"], false);
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?} is more than plugins.proxy.wait_ms");
        assert_eq!(metric_of(&a, "calls_waiting", &url), 0.0);
    }
    assert!(limits_reached(&a, &url, "waiting") >= 1.0, "{}", a.metrics());
    assert!(limits_reached(&a, &url, "wait_time") >= 1.0, "{}", a.metrics());
    assert!(a.metric("framex_limits_reached_total{limit=\"queue\"}") == 0.0);
    a.stop();
}

#[test]
fn a_hanging_peer_has_its_part_of_the_calls_and_the_next_ones_fail_at_once() {
    let b = slow_server("b");
    let url = b.url();
    let a = host(&[(&url, &[IDEMPOTENT, ONCE])], NARROW).start();
    for function in [IDEMPOTENT, ONCE] {
        connect(&a, function, 4);
        hang(&b);
        let held = begin(&a, function, 4);
        until("four calls are there", || metric_of(&a, "calls_running", &url) == 4.0);
        for _ in 0..5 {
            let begun = Instant::now();
            check_refused(&a.call(function, &json!({})), 429, "overloaded", "[plugins.proxy] in_flight_max");
            assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        }
        check_local_calls(&a);
        let because = explained(&a, function);
        assert!(because.contains("4 of at most 4 calls run there, 0 wait for it to come back"), "{because}");
        assert_eq!(a.metric("framex_calls_in_flight"), 0.0, "they take no place of this host");
        drop(held);
        until("callers that leave give their places back", || metric_of(&a, "calls_running", &url) == 0.0);
        b.signal("CONT");
        until("it serves again", || a.call(function, &json!({})).status == 200);
    }
    assert!(limits_reached(&a, &url, "in_flight") >= 10.0, "{}", a.metrics());
    let shown = a.admin_get("peers").json()["peers"][0].clone();
    assert_eq!((&shown["in_flight_max"], &shown["waiting"]), (&json!(4), &json!(0)), "{shown}");
    a.stop();
}

#[test]
fn several_peers_that_hang_or_are_gone_take_no_place_of_this_host() {
    let hanging: Vec<Daemon> = ["b", "c", "d", "e", "f"].iter().map(|id| server(id).start()).collect();
    let gone = [ClosedPort::take(), ClosedPort::take()];
    let functions = [
        ONCE,
        IDEMPOTENT,
        "misbehave.functions.logs",
        "misbehave.functions.sleeps",
        "misbehave.functions.echo",
        "misbehave.functions.blocks",
        "misbehave.functions.calls",
    ];
    let urls: Vec<String> = hanging.iter().map(Daemon::url).chain(gone.iter().map(ClosedPort::url)).collect();
    let far: Vec<(&str, [&str; 1])> =
        urls.iter().zip(functions).map(|(url, function)| (url.as_str(), [function])).collect();
    let far: Vec<(&str, &[&str])> = far.iter().map(|(url, functions)| (*url, &functions[..])).collect();
    let a = host(&far, NARROW).start();
    hanging.iter().for_each(hang);
    // More than the host has places, although each peer has no more than its part.
    let held: Vec<Pending> = functions.iter().flat_map(|function| begin(&a, function, 8)).collect();
    until("each peer that hangs has its part", || {
        urls[..5].iter().all(|url| metric_of(&a, "calls_running", url) == 4.0)
    });
    check_local_calls(&a);
    drop(held);
    hanging.iter().for_each(|peer| peer.signal("CONT"));
    a.stop();
}

#[test]
fn repeats_of_a_call_that_a_peer_never_answers_take_no_place_either() {
    let b = server("b").start();
    let url = b.url();
    let a = host(&[(&url, &[ONCE])], NARROW).start();
    hang(&b);
    let repeat = || a.begin_with(ONCE, &json!({}), "idempotency-key: one\r\n");
    let held: Vec<Pending> = (0..40).map(|_| repeat()).collect();
    until("the first one is there", || metric_of(&a, "calls_running", &url) == 1.0);
    until("the others wait for it", || a.metric("framex_idempotency_repeats_answered_total") == 39.0);
    check_local_calls(&a);
    b.signal("CONT");
    for call in held {
        assert_eq!(call.answer().json(), json!(1), "all get the outcome of the first one");
    }
    a.stop();
}

#[test]
fn a_call_falls_back_at_once_where_its_peer_has_its_part() {
    let b = slow_server("b");
    let url = b.url();
    let a = host(&[(&url, &[ONCE])], &format!("{NARROW}\nplugins.proxy.fallback = \"local\"")).start();
    connect(&a, ONCE, 4);
    hang(&b);
    let held = begin(&a, ONCE, 4);
    until("four calls are there", || metric_of(&a, "calls_running", &url) == 4.0);
    for number in 1..=5 {
        let answer = a.call(ONCE, &json!({}));
        assert_eq!((answer.json(), answer.header("x-framex-served-by")), (json!(number), Some("a")));
    }
    drop(held);
    b.signal("CONT");
    a.stop();
}

#[test]
fn the_next_peer_gets_the_calls_beyond_a_hanging_ones_limit() {
    let (b, c) = (slow_server("b"), server("c").start());
    let far: &[(&str, &[&str])] = &[(&b.url(), &[ONCE]), (&c.url(), &[ONCE])];
    let first = format!("plugins.proxy.proxy_urls.{:?}.priority = 0\n", b.url());
    let second = format!("plugins.proxy.proxy_urls.{:?}.priority = 1\n", c.url());
    let mut config = format!("{NARROW}\n{first}{second}");
    for (url, functions) in far {
        config.push_str(&format!("plugins.proxy.proxy_functions.{url:?} = {functions:?}\n"));
    }
    let a = server("a").config(&config).start();
    connect(&a, ONCE, 4);
    hang(&b);
    let held = begin(&a, ONCE, 4);
    until("four calls are there", || metric_of(&a, "calls_running", &b.url()) == 4.0);
    for _ in 0..10 {
        let answer = a.call(ONCE, &json!({}));
        assert_eq!((answer.status, answer.header("x-framex-served-by")), (200, Some("c")));
    }
    drop(held);
    b.signal("CONT");
    a.stop();
}

#[test]
fn a_reload_changes_how_many_calls_a_peer_may_have() {
    let b = slow_server("b");
    let url = b.url();
    let a = host(&[(&url, &[ONCE])], NARROW).start();
    let config = std::fs::read_to_string(a.folder().join("config.toml")).unwrap();
    connect(&a, ONCE, 4);
    hang(&b);
    let mut held = begin(&a, ONCE, 4);
    until("four calls are there", || metric_of(&a, "calls_running", &url) == 4.0);
    a.put_config(&format!("plugins.proxy.in_flight_max = 6\n{config}"));
    assert_eq!(a.reload_host().status, 200);
    held.extend(begin(&a, ONCE, 2));
    until("six are there", || metric_of(&a, "calls_running", &url) == 6.0);
    check_refused(&a.call(ONCE, &json!({})), 429, "overloaded", "in_flight_max");
    // Another key makes another peer of the URL: its calls count still.
    let key = format!("plugins.proxy.in_flight_max = 6\n{config}").replace(frames::SECRET, "another-key");
    a.put_config(&key);
    assert_eq!(a.reload_host().status, 200);
    check_refused(&a.call(ONCE, &json!({})), 429, "overloaded", "in_flight_max");
    a.put_config(&format!("plugins.proxy.in_flight_max = 1\n{config}"));
    assert_eq!(a.reload_host().status, 200);
    check_refused(&a.call(ONCE, &json!({})), 429, "overloaded", "in_flight_max");
    drop(held);
    b.signal("CONT");
    until("it serves again", || a.call(ONCE, &json!({})).status == 200);
    a.stop();
}

#[test]
fn calls_of_one_function_leave_room_for_those_of_others() {
    const SLEEPS: &str = "misbehave.functions.sleeps";
    let a = host(&[], NARROW).start();
    let hour = json!({"ms": 3_600_000});
    let mut held: Vec<Pending> = (0..12).map(|_| a.begin(SLEEPS, &hour)).collect();
    let running = || a.metric(&format!("framex_function_calls_running{{function=\"{SLEEPS}\"}}"));
    until("twelve run", || running() == 12.0);
    check_refused(&a.call(SLEEPS, &hour), 429, "overloaded", "[server] in_flight_per_function_max");
    assert_eq!(a.metric("framex_limits_reached_total{limit=\"in_flight_per_function\"}"), 1.0);
    check_local_calls(&a);
    // What the operator says of this one function is stronger, and so is another part for all.
    let config = std::fs::read_to_string(a.folder().join("config.toml")).unwrap();
    a.put_config(&format!("{config}limits.functions.{SLEEPS:?} = {{ in_flight_max = 13 }}\n"));
    assert_eq!(a.reload_host().status, 200);
    held.push(a.begin(SLEEPS, &hour));
    until("one more runs", || running() == 13.0);
    check_refused(&a.call(SLEEPS, &hour), 429, "overloaded", SLEEPS);
    a.put_config(&format!("server.in_flight_per_function_max = 14\n{config}"));
    assert_eq!(a.reload_host().status, 200);
    held.push(a.begin(SLEEPS, &hour));
    until("one more runs", || running() == 14.0);
    check_refused(&a.call(SLEEPS, &hour), 429, "overloaded", "in_flight_per_function_max");
    check_local_calls(&a);
    drop(held);
    until("all have ended", || running() == 0.0);
    a.stop();
}

#[test]
fn calls_that_wait_for_their_function_leave_room_for_those_of_others() {
    const SLEEPS: &str = "misbehave.functions.sleeps";
    let limits = format!("{NARROW}\nlimits.functions.{SLEEPS:?} = {{ in_flight_max = 1, queue_max = 1000 }}");
    let a = host(&[], &limits).start();
    let held: Vec<Pending> = (0..30).map(|_| a.begin(SLEEPS, &json!({"ms": 3_600_000}))).collect();
    until("eleven wait for the one that runs", || {
        a.metric(&format!("framex_function_limit_waiting{{function=\"{SLEEPS}\"}}")) == 11.0
    });
    check_local_calls(&a);
    drop(held);
    a.stop();
}

#[test]
fn keys_of_bulkheads_are_checked_and_shown() {
    let shown = |config: &str| -> Value {
        let shown = Daemon::builder().config(config).run(&["check", "--output", "json"]);
        serde_json::from_str(&shown.stdout).unwrap_or_else(|_| panic!("{shown:?}"))
    };
    let keys = |config: &str| {
        let config = shown(config)["config"].clone();
        let proxy = &config["plugins"]["proxy"];
        let server = &config["server"];
        [&server["in_flight_per_function_max"], &proxy["in_flight_max"], &proxy["wait_ms"]].map(Value::clone)
    };
    assert_eq!(keys(""), [768, 256, 5000].map(|number| json!(number)));
    assert_eq!(keys("server.in_flight_max = 3"), [3, 1, 5000].map(|number| json!(number)));
    let wrong = Daemon::builder().config("plugins.proxy.in_flight_max = 0").run(&["check"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(
        wrong.stderr.contains("`plugins.proxy.in_flight_max` must be a whole number from 1"),
        "{wrong:?}"
    );
}

/// A host that is away at first.
fn away() -> (FreeAddress, String) {
    let at = FreeAddress::find();
    (at, at.url())
}
