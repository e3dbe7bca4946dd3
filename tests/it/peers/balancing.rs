//! Several peers for one function: load, health, retries, weights.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use framex_tests::{Daemon, DaemonBuilder, FaultyPeer, FreeAddress, frames, http_answer};
use serde_json::{Value, json};

/// Marked idempotent, and answers how often it ran in this process.
pub(super) const IDEMPOTENT: &str = "misbehave.functions.counts_idempotent";
/// The same, not marked.
pub(super) const ONCE: &str = "misbehave.functions.counts";

/// Host `a`, whose functions run at `urls`, all alike.
pub(super) fn caller(urls: &[&str], extra: &str) -> DaemonBuilder {
    let mut config = format!("host_id = \"a\"\nplugins.proxy.proxy_urls = {urls:?}\n");
    for url in urls {
        config.push_str(&format!("plugins.proxy.proxy_functions.{url:?} = [{IDEMPOTENT:?}, {ONCE:?}]\n"));
    }
    server("a").config(&config.replace("host_id = \"a\"\n", "")).config(extra)
}

pub(super) fn server(id: &str) -> DaemonBuilder {
    Daemon::builder()
        .config(&format!("host_id = {id:?}"))
        .config(&frames::rules(&[frames::SECRET]))
        .plugin("misbehave")
}

/// Calls `times` times, and returns how many ended with each status and host.
fn calls(host: &Daemon, function: &str, times: usize) -> BTreeMap<(u16, String), usize> {
    let mut ended = BTreeMap::new();
    for _ in 0..times {
        let answer = host.call(function, &json!({}));
        let by = answer.header("x-framex-served-by").unwrap_or_default().to_owned();
        *ended.entry((answer.status, by)).or_default() += 1;
    }
    ended
}

#[test]
fn the_good_one_gets_the_calls_beside_a_slow_one_and_one_that_fails_fast() {
    let failing = FaultyPeer::start(|conversation| {
        conversation.request();
        conversation.send(&http_answer(
            "502 Bad Gateway",
            &[("content-type", "text/html")],
            b"<html>bad gateway</html>",
        ));
    });
    let slow = server("slow").config("[plugins.misbehave]\nslow_ms = 1000").start();
    let good = server("good").start();
    let a = caller(&[&failing.url(), &slow.url(), &good.url()], "").start();
    // Until the breaker opens, and each was asked once.
    let before = calls(&a, ONCE, 30);
    let after = calls(&a, ONCE, 100);
    let well: usize = after.iter().filter(|((status, _), _)| *status == 200).map(|(_, count)| count).sum();
    let by_good = after.get(&(200, "good".to_owned())).copied().unwrap_or_default();
    assert!(well >= 95, "{before:?} {after:?}");
    assert!(by_good >= 80, "{before:?} {after:?}");
    let explained = a.admin_get(&format!("explain/{ONCE}")).json();
    let because = explained["because"].to_string();
    assert!(
        ["failing: ", "paused for"].iter().any(|bad| because.contains(bad))
            && because.contains(": ok, last success"),
        "{because}"
    );
}

#[test]
fn idempotent_calls_survive_the_failures_of_one_of_two() {
    let resetting = FaultyPeer::start(|conversation| {
        conversation.request();
    });
    let good = server("good").start();
    let a = caller(&[&resetting.url(), &good.url()], "").start();
    assert_eq!(calls(&a, IDEMPOTENT, 60), BTreeMap::from([((200, "good".to_owned()), 60)]));
    assert!(resetting.requests() >= 1, "it was never asked");
}

#[test]
fn a_peer_that_is_killed_and_comes_back_costs_no_idempotent_call_and_runs_nothing_twice() {
    let at = FreeAddress::find();
    let b = server("b").listen(at).start();
    let a = caller(&[&at.url()], "").start();
    let done = AtomicBool::new(false);
    let client = |function: &'static str| {
        let (a, done) = (&a, &done);
        move || {
            let mut answers = Vec::new();
            let patience = Instant::now() + Duration::from_secs(60);
            while !done.load(Ordering::Relaxed) && Instant::now() < patience {
                answers.push(a.call_within(function, &json!({}), 20_000));
            }
            answers
        }
    };
    let (idempotent, once) = std::thread::scope(|scope| {
        let clients = [scope.spawn(client(IDEMPOTENT)), scope.spawn(client(ONCE))];
        let mut b = b;
        for _ in 0..3 {
            wait_for_calls(&b, 30.0);
            b = b.start_again();
        }
        wait_for_calls(&b, 30.0);
        done.store(true, Ordering::Relaxed);
        let [idempotent, once] = clients.map(|client| client.join().unwrap());
        (idempotent, once)
    });
    let failed: Vec<Value> =
        idempotent.iter().filter(|answer| answer.status != 200).map(|answer| answer.json()).collect();
    assert!(failed.is_empty(), "{failed:?} of {}", idempotent.len());
    // Each process counts from 1: a number that came twice within one life would be a call that ran twice unseen.
    let unknown = once.iter().filter(|answer| answer.status != 200);
    for answer in unknown {
        let problem = answer.json();
        assert_eq!(problem["code"], "unavailable", "{problem}");
    }
    let numbers: Vec<u64> = once
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.json().as_u64().unwrap())
        .collect();
    let skipped: u64 =
        numbers.windows(2).filter(|pair| pair[1] > pair[0]).map(|pair| pair[1] - pair[0] - 1).sum();
    assert_eq!(skipped, 0, "a call ran without its caller knowing: {numbers:?}");
}

/// Waits until a host has received this number of calls since it started.
fn wait_for_calls(host: &Daemon, calls: f64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let count =
        || host.metric(&format!("framex_function_calls_total{{function=\"{IDEMPOTENT}\",outcome=\"ok\"}}"));
    while count() < calls {
        assert!(Instant::now() < deadline, "{}", host.metrics());
        std::thread::yield_now();
    }
}

#[test]
fn all_peers_down_and_back_again() {
    let addresses = [FreeAddress::find(), FreeAddress::find()];
    let urls = addresses.map(FreeAddress::url);
    let a = caller(&urls.each_ref().map(String::as_str), "").start();
    let begun = Instant::now();
    let mut refused = 0;
    while begun.elapsed() < Duration::from_secs(8) {
        let answer = a.call(ONCE, &json!({}));
        assert_eq!((answer.status, &answer.json()["executed"]), (503, &json!(false)));
        refused += 1;
    }
    let attempts: f64 = urls
        .iter()
        .map(|url| a.metric(&format!("framex_peer_calls_total{{peer=\"{url}\",outcome=\"unavailable\"}}")))
        .sum();
    assert!(
        attempts < f64::from(refused).mul_add(0.1, 40.0),
        "{attempts} attempts for {refused} calls: a herd"
    );
    let [first, second] = addresses;
    let back = [server("b").listen(first).start(), server("c").listen(second).start()];
    let begun = Instant::now();
    while a.call(ONCE, &json!({})).status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(5), "it does not recover");
    }
    let after = calls(&a, ONCE, 20);
    assert!(after.keys().all(|(status, _)| *status == 200), "{after:?}");
    drop(back);
}

#[test]
fn a_later_priority_serves_once_the_earlier_ones_are_gone() {
    let (heavy, light, spare) = (server("heavy").start(), server("light").start(), server("spare").start());
    let urls = [heavy.url(), light.url(), spare.url()];
    let mut config = String::new();
    for (url, standing) in urls.iter().zip(["{ weight = 4 }", "{ weight = 1 }", "{ priority = 1 }"]) {
        config.push_str(&format!("plugins.proxy.proxy_urls.{url:?} = {standing}\n"));
        config.push_str(&format!("plugins.proxy.proxy_functions.{url:?} = [{ONCE:?}]\n"));
    }
    let a = server("a").config(&config).start();
    let served = calls(&a, ONCE, 200);
    let by = |host: &str| served.get(&(200, host.to_owned())).copied().unwrap_or_default();
    // How weights share them is a matter of load as well: `router/balance.rs` has the tests.
    assert_eq!(by("heavy") + by("light"), 200, "{served:?}");
    heavy.stop();
    light.stop();
    assert_eq!(calls(&a, ONCE, 10), BTreeMap::from([((200, "spare".to_owned()), 10)]));
}
