//! Faults that count against a peer, and faults that do not: callers, functions and sizes must not cut a good peer off,
//! and one that hangs, or fails at once, must not draw the calls to itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use framex_tests::{Daemon, DaemonBuilder, FaultyPeer, FreeAddress, frames, until};
use serde_json::json;

use super::balancing::server;
use super::check_failed;

const SLEEPS: &str = "misbehave.functions.sleeps";
const ECHO: &str = "misbehave.functions.echo";
const ONCE: &str = "misbehave.functions.counts";
const LARGE: &str = "misbehave.bookings.books";
const BRIEF: &str = "misbehave.limited.queued_briefly";

/// Host `a`, some of whose functions run at `urls`, all alike.
fn caller(urls: &[&str]) -> DaemonBuilder {
    let functions = [SLEEPS, ECHO, ONCE, LARGE, BRIEF];
    let mut config = format!("plugins.proxy.proxy_urls = {urls:?}\n");
    for url in urls {
        config.push_str(&format!("plugins.proxy.proxy_functions.{url:?} = {functions:?}\n"));
    }
    server("a").config(&config).config("plugins.proxy.white_list = [\"/api/v1/proxy/remote\"]")
}

fn hung() -> FaultyPeer {
    FaultyPeer::start(|conversation| {
        conversation.request();
        conversation.wait_for_close();
    })
}

#[track_caller]
fn check_serves(a: &Daemon) {
    for _ in 0..10 {
        let answer = a.call(ONCE, &json!({}));
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
}

/// Calls and leaves after a while, and returns the status if it arrived before that.
fn call_patiently(host: &Daemon, patience: Duration) -> Option<u16> {
    let body = json!({"ms": 20}).to_string();
    let mut stream = TcpStream::connect(host.address()).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    let head = format!(
        "POST /api/v1/functions/{SLEEPS} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).ok()?;
    std::str::from_utf8(&answer[9..]).unwrap().parse().ok()
}

#[test]
fn callers_with_little_time_do_not_cut_a_good_peer_off() {
    let b = server("b").start();
    let a = caller(&[&b.url()]).start();
    for timeout_ms in [1, 50] {
        for _ in 0..12 {
            let answer = a.call_within(SLEEPS, &json!({"ms": 60_000}), timeout_ms);
            assert_eq!(answer.status, 504, "{}", answer.json());
        }
        check_serves(&a);
    }
    a.stop();
    b.stop();
}

#[test]
fn a_peer_that_gives_no_answer_to_anybody_is_left_alone() {
    let peer = hung();
    let a = caller(&[&peer.url()]).start();
    until("it is paused", || {
        a.call_within(SLEEPS, &json!({"ms": 1}), 50).json()["code"] == json!("unavailable")
    });
    a.stop();
}

#[test]
fn a_size_limit_does_not_count_against_the_peer() {
    let b = server("b").start();
    let a = caller(&[&b.url()]).config("plugins.proxy.answer_bytes_max = 65536").start();
    for _ in 0..8 {
        check_failed(&a.call(LARGE, &json!({"order": "seat", "bytes": 200_000})), 503, "unavailable", None);
    }
    check_serves(&a);
    a.stop();
    b.stop();
}

#[test]
fn a_peer_that_hangs_does_not_draw_calls_whose_callers_leave() {
    let (good, bad) = (server("good").start(), hung());
    let a = caller(&[&good.url(), &bad.url()]).start();
    let ended: Vec<Option<u16>> = (0..60).map(|_| call_patiently(&a, Duration::from_millis(1500))).collect();
    let well = ended.iter().filter(|status| **status == Some(200)).count();
    assert!(well >= 57, "{ended:?}");
    a.stop();
    good.stop();
}

#[test]
fn a_peer_that_lacks_the_function_does_not_draw_its_calls() {
    let lacks = Daemon::builder()
        .config("host_id = \"lacks\"")
        .config(&frames::rules(&[frames::SECRET]))
        .plugin("demo")
        .start();
    let good = server("good").start();
    let a = caller(&[&lacks.url(), &good.url()]).start();
    let mut ended = BTreeMap::<u16, usize>::new();
    for _ in 0..200 {
        *ended.entry(a.call(SLEEPS, &json!({"ms": 5})).status).or_default() += 1;
    }
    assert_eq!(ended, [(200, 200)].into());
    let asked = format!("framex_peer_calls_total{{peer=\"{}\",outcome=\"not_found\"}}", lacks.url());
    let asked = a.metric(&asked);
    assert!((1.0..40.0).contains(&asked), "{asked}");
    for host in [a, lacks, good] {
        host.stop();
    }
}

#[test]
fn an_idempotent_call_falls_back_at_once() {
    let url = FreeAddress::find().url();
    let a = caller(&[&url]).config("plugins.proxy.fallback = \"local\"").start();
    let began = Instant::now();
    for _ in 0..20 {
        let answer = a.call(ECHO, &json!({"data": "eA=="}));
        assert_eq!((answer.status, answer.header("x-framex-served-by")), (200, Some("a")));
    }
    // It would wait until its deadline, 30 s, for a peer to come back.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    a.stop();
}

#[test]
fn a_function_has_no_more_time_on_a_peer() {
    let peer = hung();
    let a = caller(&[&peer.url()]).start();
    let began = Instant::now();
    check_failed(&a.call(BRIEF, &json!({"id": 1})), 504, "deadline_exceeded", None);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    a.stop();
}

#[test]
fn a_call_that_waits_goes_to_a_peer_that_is_found_meanwhile() {
    let b = server("b").start();
    let url = "http://hosts.test";
    let a = server("a")
        .config(&format!("plugins.proxy.proxy_urls.{url:?}.discover = \"file:peers.json\""))
        .config(&format!("plugins.proxy.proxy_functions.{url:?} = [{ECHO:?}]"))
        .config("plugins.proxy.white_list = [\"/api/v1/proxy/remote\"]");
    let file = a.folder().join("peers.json");
    let put = |url: &str| {
        let incoming = file.with_extension("incoming");
        fs::write(&incoming, json!([url]).to_string()).unwrap();
        fs::rename(incoming, &file).unwrap();
    };
    put(&FreeAddress::find().url());
    let a = a.start();
    let call = a.begin(ECHO, &json!({"data": "eA=="}));
    a.wait_for_log("no connection");
    put(&b.url());
    let answer = call.answer();
    assert_eq!((answer.status, answer.header("x-framex-served-by")), (200, Some("b")));
    // What was not found yet is not waited for.
    let unfound = server("c")
        .config(&format!("plugins.proxy.proxy_urls.{url:?}.discover = \"file:missing.json\""))
        .config(&format!("plugins.proxy.proxy_functions.{url:?} = [{ECHO:?}]"))
        .start();
    let began = Instant::now();
    check_failed(&unfound.call(ECHO, &json!({"data": ""})), 503, "unavailable", Some(false));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    for host in [a, b, unfound] {
        host.stop();
    }
}
