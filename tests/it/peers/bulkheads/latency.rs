//! With half of the peers dead or hanging, calls of local functions and of the other peers are as fast as before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use framex_tests::{Answer, Daemon, Fault, Relay, until};
use serde_json::{Value, json};

use super::{IDEMPOTENT, LOCAL, NARROW, ONCE, hang, host, metric_of, server};

/// Functions of the peers that have trouble now and then.
const TROUBLED: [&str; 2] = ["misbehave.functions.sleeps", "misbehave.limited.begun"];
/// Clients of each of them: more than a peer has places, and than may wait for it.
const CLIENTS: usize = 12;
/// Another machine's noise passes; what the host does stays.
const ROUNDS: usize = 6;
const CALLS: usize = 200;

/// The 99th percentile of the times of calls, none of which may fail.
fn p99(host: &Daemon) -> Duration {
    let client = |function: &'static str| {
        move || {
            let timed = |_| {
                let begun = Instant::now();
                let answer = host.call(function, &json!({}));
                assert_eq!(answer.status, 200, "{function}: {:?}", answer.problem());
                begun.elapsed()
            };
            (0..CALLS).map(timed).collect::<Vec<_>>()
        }
    };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let clients = [LOCAL, ONCE, IDEMPOTENT].map(|function| scope.spawn(client(function)));
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Calls a function again and again, as clients do that are told to come back later.
fn keep_calling(host: &Daemon, function: &str, is_over: &AtomicBool) {
    let (_never, pause) = mpsc::channel::<()>();
    while !is_over.load(Ordering::Relaxed) {
        let _answer: Answer = host.call_within(function, &arguments(function), 2_000);
        let _timed_out = pause.recv_timeout(Duration::from_millis(100));
    }
}

fn arguments(function: &str) -> Value {
    if function == TROUBLED[0] { json!({"ms": 0}) } else { json!({}) }
}

/// Ends the clients however the test ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn half_of_the_peers_in_trouble_at_most_double_the_times_of_all_other_calls() {
    let peers = ["b", "c", "hangs", "dies"].map(|id| server(id).start());
    let [_, _, hangs, dies] = &peers;
    let mut relay = Relay::start(dies.address(), |_| Fault::None);
    let urls = [peers[0].url(), peers[1].url(), hangs.url(), relay.url()];
    let functions = [ONCE, IDEMPOTENT, TROUBLED[0], TROUBLED[1]];
    let far: Vec<(&str, [&str; 1])> =
        urls.iter().zip(functions).map(|(url, function)| (url.as_str(), [function])).collect();
    let far: Vec<(&str, &[&str])> = far.iter().map(|(url, functions)| (*url, &functions[..])).collect();
    let a = host(&far, NARROW).start();
    let is_over = AtomicBool::new(false);
    let ratios = std::thread::scope(|scope| {
        let _over = Over(&is_over);
        for function in TROUBLED {
            for _ in 0..CLIENTS {
                scope.spawn(|| keep_calling(&a, function, &is_over));
            }
        }
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let serves = |function: &str| a.call_within(function, &arguments(function), 2_000).status == 200;
            until("all peers serve", || TROUBLED.into_iter().all(serves));
            let well = p99(&a);
            hang(hangs);
            relay.leave();
            until("one hangs", || metric_of(&a, "calls_running", &urls[2]) >= 4.0);
            until("one is waited for", || metric_of(&a, "calls_waiting", &urls[3]) >= 1.0);
            let in_trouble = p99(&a);
            hangs.signal("CONT");
            relay.come_back();
            ratios.push(in_trouble.as_secs_f64() / well.as_secs_f64());
            if ratios.last().is_some_and(|ratio| *ratio <= 2.0) {
                break;
            }
        }
        ratios
    });
    println!("the 99th percentile in trouble, against that without: {ratios:?}");
    assert!(ratios.iter().any(|ratio| *ratio <= 2.0), "{ratios:?}");
    a.stop();
}
