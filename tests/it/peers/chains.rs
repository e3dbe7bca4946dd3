//! Thirty hosts in a row and in a ring, and callers that leave at the far end of a chain.

use std::time::{Duration, Instant};

use framex_host::base::HOPS_MAX;
use framex_tests::{Answer, Daemon, DaemonBuilder, FreeAddress, frames};
use serde_json::{Value, json};

use super::check_failed;

/// Hosts in the row.
const HOSTS: usize = 30;
/// Runs on the last host, no matter which host is asked.
const ALONG: &str = "misbehave.functions.counts";
/// Runs nowhere: every host sends it to the next one, and the last one to the first.
const AROUND: &str = "misbehave.functions.sleeps";
/// The same, and it may be made again.
const AROUND_IDEMPOTENT: &str = "misbehave.functions.counts_idempotent";
/// The same, and every host knows two others.
const TWO_WAYS: [&str; 2] = ["misbehave.functions.blocks", "misbehave.functions.echo"];
/// Waits, and says when it is dropped.
const WAITS: &str = "misbehave.functions.tells_when_dropped";

fn host(id: usize, routes: &[(&str, &str)]) -> DaemonBuilder {
    let mut config = format!("host_id = \"h{id}\"\n");
    let mut urls: Vec<&str> = routes.iter().map(|(url, _)| *url).collect();
    urls.dedup();
    config.push_str(&format!("plugins.proxy.proxy_urls = {urls:?}\n"));
    for url in urls {
        let functions: Vec<&str> =
            routes.iter().filter(|(at, _)| *at == url).map(|(_, function)| *function).collect();
        config.push_str(&format!("plugins.proxy.proxy_functions.{url:?} = {functions:?}\n"));
    }
    Daemon::builder().config(&config).config(&frames::rules(&[frames::SECRET])).plugin("misbehave")
}

/// Starts them all, a few at a time.
fn start_all(builders: Vec<DaemonBuilder>) -> Vec<Daemon> {
    let mut hosts = Vec::new();
    let mut builders = builders.into_iter().peekable();
    while builders.peek().is_some() {
        let some: Vec<DaemonBuilder> = builders.by_ref().take(4).collect();
        std::thread::scope(|scope| {
            let starting: Vec<_> = some.into_iter().map(|one| scope.spawn(|| one.start())).collect();
            hosts.extend(starting.into_iter().map(|host| host.join().unwrap()));
        });
    }
    hosts
}

/// Waits until this number of lines of a log hold a text.
fn wait_for_lines(host: &Daemon, text: &str, lines: usize) {
    let patience = Instant::now() + Duration::from_secs(30);
    while host.log().lines().filter(|line| line.contains(text)).count() < lines {
        assert!(Instant::now() < patience, "{}", host.log());
        std::thread::yield_now();
    }
}

/// Returns how many calls a host has sent to its peers, with any outcome.
fn sent(host: &Daemon) -> u64 {
    let metrics = host.metrics();
    let counts = metrics.lines().filter(|line| line.starts_with("framex_peer_calls_total{"));
    counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as u64).sum()
}

fn sent_by_all(hosts: &[Daemon]) -> u64 {
    hosts.iter().map(sent).sum()
}

/// Returns how often a function ran on a host.
fn ran(host: &Daemon, function: &str) -> u64 {
    let metrics = host.metrics();
    let of_function = format!("framex_function_calls_total{{function=\"{function}\"");
    let counts = metrics.lines().filter(|line| line.starts_with(&of_function));
    counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as u64).sum()
}

#[track_caller]
fn check_looped(answer: &Answer) {
    check_failed(answer, 508, "loop_detected", Some(false));
}

#[test]
fn thirty_hosts_in_a_row_and_in_a_ring() {
    let ats: Vec<FreeAddress> = (0..HOSTS).map(|_| FreeAddress::find()).collect();
    let urls: Vec<String> = ats.iter().map(|at| at.url()).collect();
    let builders = (0..HOSTS).map(|number| {
        let (next, after) = (&urls[(number + 1) % HOSTS], &urls[(number + 2) % HOSTS]);
        let mut routes: Vec<(&str, &str)> =
            [AROUND, AROUND_IDEMPOTENT].map(|one| (next.as_str(), one)).to_vec();
        if number + 1 < HOSTS {
            routes.push((next, ALONG));
        }
        for url in [next, after] {
            routes.extend(TWO_WAYS.map(|function| (url.as_str(), function)));
        }
        host(number, &routes).listen(ats[number])
    });
    let hosts = start_all(builders.collect());
    let call =
        |from: usize, function: &str, arguments: &Value| hosts[from].call_within(function, arguments, 10_000);

    // In a row: as many hosts as the limit allows, and one more.
    let farthest = HOSTS - 1 - HOPS_MAX;
    for from in [HOSTS - 1, HOSTS - 2, farthest] {
        let before = sent_by_all(&hosts);
        let served = call(from, ALONG, &json!({}));
        assert_eq!(
            (served.status, served.header("x-framex-served-by")),
            (200, Some("h29")),
            "{from}: {served:?}"
        );
        assert_eq!(sent_by_all(&hosts) - before, (HOSTS - 1 - from) as u64);
    }
    for from in [farthest - 1, 0] {
        let before = sent_by_all(&hosts);
        let refused = call(from, ALONG, &json!({}));
        check_looped(&refused);
        let text = refused.json()["detail"].as_str().unwrap_or_default().to_owned();
        let names: Vec<String> = (from..=from + HOPS_MAX).map(|host| format!("h{host}")).collect();
        assert!(text.contains(&names.join(" to ")), "{text}");
        assert_eq!(sent_by_all(&hosts) - before, HOPS_MAX as u64, "each host asked the next one once");
    }
    let runs: u64 = hosts.iter().map(|host| ran(host, ALONG)).sum();
    assert_eq!((ran(&hosts[HOSTS - 1], ALONG), runs), (3, 3));

    // In a ring nothing runs, and one call stays a few, regardless of what the hosts know about each other.
    for (function, arguments, most) in [
        (AROUND, json!({"ms": 0}), HOPS_MAX),
        (AROUND_IDEMPOTENT, json!({}), HOPS_MAX),
        (TWO_WAYS[0], json!({"value": 1}), 6 * HOPS_MAX),
        (TWO_WAYS[1], json!({"data": ""}), 6 * HOPS_MAX),
    ] {
        for from in [0, HOSTS / 2] {
            let (before, began) = (sent_by_all(&hosts), Instant::now());
            let refused = call(from, function, &arguments);
            check_looped(&refused);
            let text = refused.json()["detail"].as_str().unwrap_or_default().to_owned();
            assert!(text.contains(&format!("h{from} to h")), "{text}");
            let sent = sent_by_all(&hosts) - before;
            assert!((HOPS_MAX as u64..=most as u64).contains(&sent), "{function}: {sent} calls of one");
            assert!(began.elapsed() < Duration::from_secs(8), "{function}: {:?}", began.elapsed());
        }
        let runs: u64 = hosts.iter().map(|host| ran(host, function)).sum();
        assert_eq!(runs, 0, "{function}");
    }
}

#[test]
fn a_circle_elsewhere_does_not_keep_a_call_from_the_host_that_can_run_it() {
    let [at_a, at_b] = [FreeAddress::find(), FreeAddress::find()];
    let c = host(3, &[]).start();
    // B has it from A alone, which knows C as well.
    let b = host(2, &[(&at_a.url(), ALONG)]).listen(at_b).start();
    let a = host(1, &[(&at_b.url(), ALONG), (&c.url(), ALONG)]).listen(at_a).start();
    for host in [&a, &b] {
        for _ in 0..5 {
            let served = host.call(ALONG, &json!({}));
            assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("h3")), "{served:?}");
        }
    }
    assert_eq!((ran(&a, ALONG), ran(&b, ALONG), ran(&c, ALONG)), (0, 0, 10));
}

#[test]
fn a_caller_that_leaves_ends_the_work_at_the_far_end_at_once() {
    const RUNS: usize = 10;
    let mut hosts = vec![host(4, &[]).start()];
    for number in (0..4).rev() {
        let url = hosts[0].url();
        hosts.insert(0, host(number, &[(&url, WAITS)]).start());
    }
    let (first, last) = (&hosts[0], &hosts[4]);
    let mut took = Vec::new();
    for run in 1..=RUNS {
        let caller = first.begin(WAITS, &json!({ "ms": 600_000 }));
        wait_for_lines(last, "the call waits", run);
        let left = Instant::now();
        drop(caller);
        wait_for_lines(last, "the call was dropped", run);
        took.push(left.elapsed());
    }
    took.sort_unstable();
    // The machine may be busy with other things, but not all of the time.
    assert!(took[0] < Duration::from_millis(100), "{took:?}");
    assert!(took[took.len() - 1] < Duration::from_secs(5), "{took:?}");
    // No call was lost on the way, and all hosts go on.
    assert_eq!(first.call(WAITS, &json!({"ms": 1})).json(), json!(1));
    for host in hosts {
        host.stop();
    }
}
