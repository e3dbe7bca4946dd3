//! Hosts whose clocks differ, alone and behind one URL.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use framex_tests::{Balancer, Daemon, DaemonBuilder, FreeAddress, WallClock, frames};
use serde_json::{Value, json};

use super::builder;

const COUNTS: &str = "misbehave.functions.counts";
const SKEW: &str = "the peer's clock differs from this host's: calls are stamped by the peer's";
const HOUR_S: i64 = 3600;

/// Host `a`, whose calls of [`COUNTS`] go to `url`.
fn caller(url: &str, clock: &WallClock) -> DaemonBuilder {
    Daemon::builder()
        .config("host_id = \"a\"")
        .config(&frames::rules(&[frames::SECRET]))
        .config(&format!("plugins.proxy.proxy_urls = [{url:?}]"))
        .config(&format!("plugins.proxy.proxy_functions = {{ {url:?} = [{COUNTS:?}] }}"))
        .wall_clock(clock)
}

/// A host behind a balancer.
fn server(clock: &WallClock, at: FreeAddress) -> Daemon {
    builder().wall_clock(clock).listen(at).start()
}

fn address(at: FreeAddress) -> String {
    at.url().replace("http://", "")
}

/// Returns how often [`COUNTS`] ran on a host in this life; ask once, this is a call of it.
fn runs(host: &Daemon) -> u64 {
    host.call(COUNTS, &json!({})).json().as_u64().expect("it answers a number") - 1
}

fn skews(host: &Daemon) -> usize {
    host.log().lines().filter(|line| line.contains(SKEW)).count()
}

/// Calls from several threads at once; the answers by status and problem.
fn calls(a: &Daemon, threads: usize, each: usize) -> BTreeMap<(u16, String), u64> {
    let answers: Vec<_> = std::thread::scope(|scope| {
        let call = || (0..each).map(|_| a.call(COUNTS, &json!({}))).collect::<Vec<_>>();
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(call)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut counts = BTreeMap::new();
    for answer in answers {
        let problem = if answer.status == 200 { Value::Null } else { answer.json() };
        let text = if problem.is_null() {
            String::new()
        } else {
            format!("{} {}", problem["code"], problem["executed"])
        };
        *counts.entry((answer.status, text)).or_default() += 1;
    }
    counts
}

#[test]
fn a_clock_that_is_off_is_followed_and_the_log_names_both() {
    let b = builder().start();
    let clock = WallClock::off_by(-HOUR_S);
    let a = caller(&b.url(), &clock).start();
    assert_eq!(a.call(COUNTS, &json!({})).json(), json!(1));
    let line = a.logged(SKEW);
    let number = |key: &str| line[key].as_i64().unwrap_or_else(|| panic!("{key}: {line}"));
    assert!((number("offset_ms") - HOUR_S * 1000).abs() < 30_000, "{line}");
    assert_eq!(number("peer_clock_ms") - number("our_clock_ms"), number("offset_ms"), "{line}");
    assert!(number("peer_clock_ms").abs_diff(frames::now_ms() as i64) < 60_000, "{line}");
    for count in 2..10 {
        assert_eq!(a.call(COUNTS, &json!({})).json(), json!(count));
    }
    assert_eq!(skews(&a), 1, "once is enough: {}", a.log());
    // It is set right, then wrong again, while the host runs: no call fails of it, none runs twice.
    for seconds in [0, HOUR_S, -HOUR_S] {
        clock.set(seconds);
        assert_eq!(calls(&a, 4, 5), BTreeMap::from([((200, String::new()), 20)]));
    }
    assert_eq!(runs(&b), 9 + 60);
    a.stop();
    b.stop();
}

#[test]
fn several_hosts_behind_one_url_serve_with_clocks_and_starts_of_their_own() {
    let ats = [FreeAddress::find(), FreeAddress::find()];
    // As far apart as the window allows for either.
    let clocks = [WallClock::off_by(12), WallClock::off_by(-12)];
    let [first, second] = [0, 1].map(|host: usize| server(&clocks[host], ats[host]));
    let balancer = Balancer::start(&[&address(ats[0]), &address(ats[1])]);
    let a = caller(&balancer.url(), &WallClock::off_by(0)).start();
    let all_served = |threads: usize, each: usize| {
        let expected = BTreeMap::from([((200, String::new()), (threads * each) as u64)]);
        assert_eq!(calls(&a, threads, each), expected, "{}", a.log());
    };
    all_served(1, 10);
    all_served(8, 20);
    assert!(balancer.connections().iter().all(|count| *count > 0), "{:?}", balancer.connections());
    assert!(skews(&a) >= 1, "both clocks are told apart from A's: {}", a.log());
    let ran = [runs(&first), runs(&second)];
    assert_eq!(ran.iter().sum::<u64>(), 170, "{ran:?}");
    assert!(ran.iter().all(|ran| *ran > 0), "{ran:?}");
    // One of them is started anew, and knows nothing of the frames that it has served before.
    let second = second.start_again();
    let patience = Instant::now() + Duration::from_secs(30);
    while balancer.open()[1] > 0 {
        assert!(Instant::now() < patience, "{:?}", balancer.open());
        std::thread::yield_now();
    }
    all_served(8, 20);
    let again = [runs(&first) - 1, runs(&second)];
    assert_eq!(again[0] - ran[0] + again[1], 160, "{ran:?} {again:?}");
    assert!(again[1] > 0, "{again:?}");
    a.stop();
    first.stop();
    second.stop();
}

/// Clocks that no stamp can please at the same time: each connection is stamped by the clock of its own host.
#[test]
fn hosts_behind_one_url_with_clocks_far_apart_serve_by_their_own_clocks() {
    let ats = [FreeAddress::find(), FreeAddress::find()];
    let clocks = [WallClock::off_by(HOUR_S), WallClock::off_by(-HOUR_S)];
    let [first, second] = [0, 1].map(|host: usize| server(&clocks[host], ats[host]));
    let balancer = Balancer::start(&[&address(ats[0]), &address(ats[1])]);
    let a = caller(&balancer.url(), &WallClock::off_by(0)).start();
    for threads in [1, 8] {
        let served = BTreeMap::from([((200, String::new()), threads as u64 * 20)]);
        assert_eq!(calls(&a, threads, 20), served, "{}", a.log());
    }
    assert!(balancer.connections().iter().all(|count| *count > 0), "{:?}", balancer.connections());
    assert_eq!(runs(&first) + runs(&second), 180);
    a.stop();
    first.stop();
    second.stop();
}
