//! Peers whose catalogues are slow, large, broken, or elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use framex_tests::{Conversation, Daemon, FaultyPeer, http_answer};
use serde_json::{Value, json};

use super::{catalogue_of, entry, fetches, sealing_lister, until, until_listed};

/// A function that every scripted catalogue has at first.
const FIRST: &str = "far.first";

/// A peer whose first catalogue is good, and whose next ones are what `next` says.
fn first_good(next: impl Fn(&mut Conversation) -> bool + Send + Sync + 'static) -> FaultyPeer {
    let count = AtomicUsize::new(0);
    FaultyPeer::start(move |conversation| {
        while conversation.message().is_some() {
            let goes_on = match count.fetch_add(1, Ordering::SeqCst) {
                0 => conversation.send(&catalogue_of("far", &json!([{ "name": FIRST, "runs": "local" }]))),
                _ => next(conversation),
            };
            if !goes_on {
                return;
            }
        }
    })
}

fn first_good_then(answer: Vec<u8>) -> FaultyPeer {
    first_good(move |conversation| conversation.send(&answer))
}

/// Checks that a later answer counts as `result`, and that what the first one offered stays.
#[track_caller]
fn check(peer: &FaultyPeer, config: &str, result: &str, reason: &str) -> Daemon {
    let a = sealing_lister("a", &[&peer.url()]).config(config).start();
    until(&a, "it was not asked for", || fetches(&a, &peer.url(), result) >= 2.0);
    assert!(entry(&a, FIRST).is_some());
    let failure = a.admin_get("peers").json()["peers"][0]["catalogue"]["last_failure"].clone();
    assert!(failure["reason"].as_str().is_some_and(|said| said.contains(reason)), "{failure}");
    // Once, not once for each request.
    let lines = a.log().lines().filter(|line| line.contains("cannot list the functions of the peer")).count();
    assert_eq!(lines, 1, "{}", a.log());
    a
}

#[test]
fn a_catalogue_that_is_too_large_is_not_taken() {
    const SMALL: &str = "plugins.proxy.catalogue_bytes_max = 1024";
    let large = json!([{ "name": "far.large", "runs": "local", "description": "x".repeat(2000) }]);
    check(&first_good_then(catalogue_of("far", &large)), SMALL, "too_large", "more than 1024 bytes");
    // Without a length, and without an end.
    let endless = first_good(|conversation| {
        let begins = conversation.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        begins
            && (0..1_000_000)
                .all(|_| conversation.send(format!("400\r\n{}\r\n", "[".repeat(1024)).as_bytes()))
    });
    check(&endless, SMALL, "too_large", "more than 1024 bytes");
    assert!(endless.bytes_sent() < 64 << 20, "{}", endless.bytes_sent());
    let many: Vec<Value> =
        (0..10_001).map(|number| json!({ "name": format!("far.f{number}"), "runs": "local" })).collect();
    check(&first_good_then(catalogue_of("far", &json!(many))), "", "too_large", "more than 10000 functions");
}

#[test]
fn an_answer_that_is_not_a_catalogue_is_not_taken() {
    let deep = "[".repeat(100_000);
    for body in ["<html>canary</html>", "{}", "", "{\"functions\": 7}", &deep] {
        let a = check(
            &first_good_then(http_answer("200 OK", &[], body.as_bytes())),
            "",
            "malformed",
            "not a catalogue",
        );
        assert!(!a.log().contains("canary"), "{}", a.log());
    }
}

#[test]
fn other_answers_change_nothing() {
    for (status, reason) in [
        ("404 Not Found", "404"),
        ("500 Internal Server Error", "500"),
        ("304 Not Modified", "304"),
        ("204 No Content", "204"),
    ] {
        check(&first_good_then(http_answer(status, &[], b"")), "", "failed", reason);
    }
    let garbled = first_good(|conversation| {
        conversation.send(b"SSH-2.0-OpenSSH_9.2\r\n");
        false
    });
    check(&garbled, "", "failed", "the connection broke");
    let cut = first_good(|conversation| {
        conversation.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"functions\": []");
        false
    });
    check(&cut, "", "failed", "the connection broke");
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere =
        FaultyPeer::serving(|_, _| catalogue_of("else", &json!([{ "name": "else.f", "runs": "local" }])));
    let location = format!("{}/api/v1/functions", elsewhere.url());
    let moved = http_answer("307 Temporary Redirect", &[("location", &location)], b"");
    let a = check(&first_good_then(moved), "", "failed", "redirects are not followed");
    assert_eq!((elsewhere.connections(), entry(&a, "else.f")), (0, None));
}

#[test]
fn a_peer_that_dribbles_is_given_up_and_holds_nothing_up() {
    let slow = first_good(|conversation| {
        conversation.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        conversation.wait_for_close();
        false
    });
    let a = sealing_lister("a", &[&slow.url()]).start();
    until(&a, "it is not given up", || fetches(&a, &slow.url(), "failed") >= 1.0);
    assert!(entry(&a, FIRST).is_some());
    assert!(super::because(&a, FIRST).contains("no answer within 10 s"));
    // Also while it is asked for.
    a.stop();
}

#[test]
fn entries_that_do_not_count_are_left_out() {
    let entries = json!([
        { "name": "far.f", "runs": "local", "description": "one \u{1b}[31m red" },
        { "name": "far.elsewhere", "runs": "http://127.0.0.1:1" },
        { "name": "no name", "runs": "local" },
        { "name": "far..dots", "runs": "local" },
        { "name": "x".repeat(300), "runs": "local" },
    ]);
    let peer = FaultyPeer::serving(move |_, _| catalogue_of("far", &entries));
    let a = sealing_lister("a", &[&peer.url()]).start();
    until_listed(&a, "far.f");
    assert_eq!(entry(&a, "far.f").unwrap()["description"], "one  [31m red");
    let functions = a.metric(&format!("framex_peer_catalogue_functions{{peer=\"{}\"}}", peer.url()));
    assert_eq!(functions, 1.0);
    let line = a.logged("the peer offers other functions than before");
    assert_eq!((&line["functions"], &line["misnamed"]), (&json!(1), &json!(3)));
}

#[test]
fn the_tag_of_the_last_good_answer_is_sent_and_no_other() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let peer = FaultyPeer::serving(move |head, _| {
        let mut seen = seen.lock().expect("no script panics");
        seen.push(head.to_owned());
        let body = br#"{"functions": [{"name": "far.f", "runs": "local"}]}"#;
        match seen.len() {
            1 => http_answer("200 OK", &[("etag", "\"one\"")], body),
            2 => http_answer("200 OK", &[("etag", "\"broken\"")], b"{"),
            _ => http_answer("304 Not Modified", &[("etag", "\"one\"")], b""),
        }
    });
    let a = sealing_lister("a", &[&peer.url()]).start();
    until(&a, "it is not asked again", || fetches(&a, &peer.url(), "unchanged") >= 2.0);
    assert_eq!((fetches(&a, &peer.url(), "ok"), fetches(&a, &peer.url(), "malformed")), (1.0, 1.0));
    assert!(entry(&a, "far.f").is_some());
    let heads = heads.lock().unwrap();
    assert!(
        heads[0].starts_with("get /api/v1/functions http/1.1\r\n") && !heads[0].contains("if-none-match")
    );
    assert!(heads[1..].iter().all(|head| head.contains("if-none-match: \"one\"\r\n")), "{heads:?}");
    assert!(
        heads.iter().all(|head| !head.contains("authorization") && head.contains("accept: application/json"))
    );
}
