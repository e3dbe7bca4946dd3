//! A host reports the true state of its peers: `peers`, `explain`, metrics, and the errors of calls.

use framex_tests::{Answer, Daemon, DaemonBuilder, FaultyPeer, FreeAddress, frames, http_answer, until};
use serde_json::{Value, json};

use super::{FUNCTION, TRACE, call, call_within, check_failed, host, runs};

/// Runs where it is asked for, and asks for [`COUNTS`].
const ASKS: &str = "misbehave.nested.asks_count";
const COUNTS: &str = "misbehave.functions.counts";

fn peer(host: &Daemon) -> Value {
    host.admin_get("peers").json()["peers"][0].clone()
}

fn because(host: &Daemon, function: &str) -> String {
    host.admin_get(&format!("explain/{function}")).json()["because"].to_string()
}

fn up(host: &Daemon, url: &str) -> Option<String> {
    let name = format!("framex_peer_up{{peer=\"{url}\"}} ");
    host.metrics().lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned))
}

/// Waits for `health`, whether calls are made or not.
fn until_health(host: &Daemon, health: &str) -> Value {
    until(&format!("the peer is {health}"), || peer(host)["health"] == health);
    peer(host)
}

#[track_caller]
fn check_detail(answer: &Answer, detail: &str) {
    let (status, code, found) = answer.problem();
    assert_eq!((status, code.as_str(), found.as_str()), (503, "unavailable", detail));
}

#[test]
fn a_peer_that_never_answered_is_failing_and_why() {
    let url = FreeAddress::find().url();
    // Once without any call, as only calls are allowed there, and once with calls.
    let idle = host("idle", &[&url], FUNCTION).start();
    let a = host("a", &[&url], FUNCTION).config("plugins.proxy.wait_ms = 0").start();
    assert!(["unknown", "failing"].contains(&peer(&idle)["health"].as_str().unwrap()));
    let says = format!("the peer that function `{FUNCTION}` runs on cannot be reached");
    check_detail(&call(&a), &says);
    for host in [&idle, &a] {
        let shown = until_health(host, "failing");
        assert!(shown["failing_since"].is_string() && shown["last_success_at"].is_null(), "{shown}");
        let error = &shown["last_error"];
        assert_eq!(error["cause"], "not_connected", "{shown}");
        assert!(error["at"].is_string() && error["reason"].as_str().unwrap().contains("refused"), "{shown}");
        let explained = because(host, FUNCTION);
        for part in ["failing: ", "since 20", "onnection refused", "no host has answered yet", "leads back"] {
            assert!(explained.contains(part), "{part}: {explained}");
        }
        for untrue in ["serves", "an answer takes", "ok, last success"] {
            assert!(!explained.contains(untrue), "{explained}");
        }
        assert_eq!(up(host, &url).as_deref(), Some("0.0"));
        let first = host.run(&["explain", FUNCTION]).stdout;
        assert!(first.starts_with(&format!("`{FUNCTION}` runs on {url} (which host")), "{first}");
        let table = host.run(&["peers"]).stdout;
        let mut rows = table.lines().take_while(|line| !line.is_empty());
        assert!(rows.all(|line| line.chars().count() <= 120), "{table}");
        for part in ["HEALTH", "LAST SUCCESS", "LAST ERROR", "failing since ", "no connection: "] {
            assert!(table.contains(part), "{part}: {table}");
        }
        assert!(
            !table.contains("CLOCK OFFSET")
                && host.run(&["-o", "wide", "peers"]).stdout.contains("CLOCK OFFSET")
        );
    }
    // Refused once more and more, it is paused, and the cause is kept.
    until("it is paused", || call(&a).json()["detail"].as_str().unwrap().contains(" is paused for "));
    let detail = call(&a).problem().2;
    assert!(detail.ends_with("; the last: it cannot be reached"), "{detail}");
    until("explain says so", || {
        call(&a);
        let explained = because(&a, FUNCTION);
        explained.contains("paused for another") && explained.contains("failures since 20")
    });
}

#[test]
fn a_peer_that_answers_is_ok_and_its_last_error_is_kept() {
    let at_b = FreeAddress::find();
    let url = at_b.url();
    let a = host("a", &[&url], FUNCTION).start();
    until_health(&a, "failing");
    let b = host("b", &[], FUNCTION).listen(at_b).start();
    assert_eq!(call(&a).status, 200);
    let shown = until_health(&a, "ok");
    assert!(shown["failing_since"].is_null() && shown["last_success_at"].is_string(), "{shown}");
    assert_eq!(shown["last_error"]["cause"], "not_connected", "{shown}");
    let explained = because(&a, FUNCTION);
    for part in [": ok, last success ", "; its last answer took ", "host `b` answered a hello"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    assert_eq!(up(&a, &url).as_deref(), Some("1.0"));
    assert!(a.metric(&format!("framex_peer_last_success_timestamp_seconds{{peer=\"{url}\"}}")) > 1.7e9);
    let table = a.run(&["peers"]).stdout;
    assert!(table.contains("  ok  ") && !table.contains("failing"), "{table}");
    b.stop();
    // A call that failed is not shown as one that took a second.
    assert_ne!(call_within(&a, 2000).status, 200);
    let explained = because(&a, FUNCTION);
    assert!(!explained.contains("an answer takes"), "{explained}");
    assert!(explained.contains("ranked as if an answer took"), "{explained}");
}

#[test]
fn a_refused_call_is_not_a_failure_of_the_peer() {
    let busy = super::authentic(|_, _| {
        super::failure(framex_host::base::Failure::not_executed(
            framex_host::base::ErrorCode::Overloaded,
            "too much",
        ))
    });
    let a = host("a", &[&busy.url()], FUNCTION).start();
    assert_eq!(call_within(&a, 1000).json()["code"], "overloaded");
    let shown = peer(&a);
    assert_eq!((&shown["health"], &shown["last_error"]["cause"]), (&json!("ok"), &json!("overloaded")));
    assert_eq!(shown["last_error"]["reason"], "it answered `overloaded`: too much");
}

#[test]
fn errors_of_inner_calls_name_the_function_that_failed() {
    let nowhere = FreeAddress::find().url();
    let refuses = FaultyPeer::answering(|_| http_answer("401 Unauthorized", &[], b"{}"));
    let forbids = FaultyPeer::answering(|_| http_answer("403 Forbidden", &[], b"{}"));
    for (url, says) in [
        (nowhere.as_str(), "cannot be reached"),
        (&refuses.url(), "does not accept this host's key"),
        (&forbids.url(), "gave no sealed answer, but HTTP status 403"),
    ] {
        let a = host("a", &[url], COUNTS).config("plugins.proxy.wait_ms = 0").start();
        let detail = format!("the peer that function `{COUNTS}` runs on {says}");
        for function in [ASKS, "misbehave.nested.asks_count_spawned"] {
            let answer = a.call(function, &json!({}));
            check_detail(&answer, &detail);
            assert_eq!(answer.json()["executed"], true, "the outer function ran");
        }
        let direct = a.call(COUNTS, &json!({}));
        check_detail(&direct, &detail);
        assert_eq!(direct.header("www-authenticate"), None, "the client has no part in it");
    }
    // Of time as well.
    let silent = FaultyPeer::start(|conversation| {
        conversation.request();
        conversation.wait_for_close();
    });
    let a = host("a", &[&silent.url()], COUNTS).start();
    let (status, _, detail) = a.call_within(ASKS, &json!({}), 300).problem();
    assert_eq!(status, 504);
    assert!(detail.contains(COUNTS) || detail.contains(ASKS), "{detail}");
}

#[test]
fn a_functions_own_refusal_is_passed_on() {
    let peer = super::authentic(|_, _| {
        super::failure(framex_host::base::Failure::executed(
            framex_host::base::ErrorCode::Unauthenticated,
            "show me the token",
        ))
    });
    let a = host("a", &[&peer.url()], FUNCTION).start();
    let (status, code, detail) = call(&a).problem();
    assert_eq!((status, code.as_str(), detail.as_str()), (401, "unauthenticated", "show me the token"));
}

#[test]
fn the_own_url_is_known_before_the_first_call() {
    let at_a = FreeAddress::find();
    let url = at_a.url();
    let a = host("a", &[&url], FUNCTION).listen(at_a).start();
    let runs_there = || a.admin_get(&format!("explain/{FUNCTION}")).json();
    let first = runs_there();
    if first["runs"] == "peer" {
        assert_eq!(first["peer_has_answered"], false, "{first}");
    }
    until("it is known as this host", || runs_there()["runs"] == "local");
    assert_eq!(peer(&a)["health"], "itself");
    assert!(a.run(&["peers"]).stdout.contains("this host"));
    assert!(a.run(&["explain", FUNCTION]).stdout.starts_with(&format!("`{FUNCTION}` runs local:\n")));
    assert_eq!(call(&a).status, 200);
    assert_eq!(runs(&a), 1);
}

#[test]
fn the_error_says_that_the_peer_lacks_the_function() {
    let b = Daemon::builder()
        .config("host_id = \"b\"")
        .config(&frames::rules(&[frames::SECRET]))
        .plugin("demo")
        .start();
    let url = b.url();
    let a = Daemon::builder()
        .config(&format!("plugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.proxy_functions.{url:?} = [{FUNCTION:?}, \"demo.some.example_func\"]"))
        .config(&frames::rules(&[frames::SECRET]))
        .start();
    let lacks = "does not list the function";
    until("the catalogue is known", || because(&a, FUNCTION).contains(lacks));
    let has = because(&a, "demo.some.example_func");
    assert!(!has.contains(lacks) && has.contains(": ok, last success"), "{has}");
    check_failed(&call(&a), 404, "not_found", Some(false));
}

/// Host `b` with other keys than `a`, and a client of `a`.
fn strangers(rules_of_b: &str) -> (Daemon, DaemonBuilder) {
    let b = Daemon::builder().config("host_id = \"b\"").config(rules_of_b).plugin("misbehave").start();
    let a = host("a", &[&b.url()], FUNCTION);
    (b, a)
}

#[test]
fn a_wrong_key_is_named_on_both_sides() {
    let (b, a) = strangers(&frames::rules(&[frames::OTHER_SECRET]));
    // The id of the key of A, as `keygen --id` and `check` say it on A; B has another one.
    let file = a.folder().join("a.key");
    std::fs::write(&file, format!("{}\n", frames::SECRET)).unwrap();
    let shown = a.run(&["keygen", "--id", file.to_str().unwrap()]);
    let id = shown.stdout.trim_end().to_owned();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id} {}", shown.stderr);
    let json: Value =
        serde_json::from_str(&a.run(&["keygen", "--id", file.to_str().unwrap(), "-o", "json"]).stdout)
            .unwrap();
    assert_eq!(json["id"], id.as_str());
    let listed = a.run(&["check"]).stdout;
    assert!(
        listed.lines().any(|line| line.contains("/api/v1/proxy/remote") && line.ends_with(&id)),
        "{listed}"
    );
    let a = a.start();
    let of_b: Value = serde_json::from_str(&b.run(&["check", "-o", "json"]).stdout).unwrap();
    assert_eq!(
        (&of_b["keys"][0]["of"], of_b["keys"][0]["id"] == id.as_str()),
        (&json!("/api/v1/proxy/remote"), false)
    );
    let refused = format!("the peer that function `{FUNCTION}` runs on does not accept this host's key");
    check_detail(&call(&a), &refused);
    assert_eq!(call(&a).json()["executed"], false, "a hello was refused");
    let shown = peer(&a);
    assert_eq!((&shown["health"], &shown["key_id"]), (&json!("failing"), &json!(id)));
    let reason = format!("it does not accept this host's key {id} (HTTP status 401)");
    assert_eq!(
        (&shown["last_error"]["cause"], &shown["last_error"]["reason"]),
        (&json!("key_refused"), &json!(reason))
    );
    assert!(because(&a, FUNCTION).contains(&reason));
    until("it is paused", || call(&a).json()["detail"].as_str().unwrap().contains(" is paused for "));
    let detail = call(&a).problem().2;
    assert!(
        detail.contains("; the last: it does not accept this host's key") || detail == refused,
        "{detail}"
    );
    // B says who and which, once for all of these.
    b.wait_for_log("names a key that this host does not have");
    let line = b.log().lines().find(|line| line.contains("names a key that")).unwrap().to_owned();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["level"], &line["from"], &line["key_id"]),
        (&json!("WARN"), &json!("127.0.0.1"), &json!(id))
    );
    assert_eq!(b.log().matches("names a key that").count(), 1, "{}", b.log());
    for log in [a.log(), b.log()] {
        assert!(!log.contains(frames::SECRET) && !log.contains(frames::OTHER_SECRET));
    }
}

#[test]
fn a_wrong_key_is_known_before_the_first_call() {
    let (b, a) = strangers(&frames::rules(&[frames::OTHER_SECRET]));
    let a = a.start();
    let shown = until_health(&a, "failing");
    assert_eq!(shown["last_error"]["cause"], "key_refused", "{shown}");
    a.wait_for_log("no call can be made to the peer: it does not accept this host's key");
    drop(b);
}

#[test]
fn a_call_has_one_id_on_all_hosts() {
    let b = host("b", &[], FUNCTION).start();
    let a = host("a", &[&b.url()], FUNCTION).config("log.level = \"debug\"").start();
    let answer = call(&a);
    let id = answer.header("x-framex-request-id").expect("each call has an id").to_owned();
    b.wait_for_log(TRACE);
    let line = b.log().lines().find(|line| line.contains(TRACE) && line.contains(&id)).map(str::to_owned);
    assert!(line.is_some(), "{id}:\n{}", b.log());
    // A host from before does not know of it, and its calls have the ids of their frames.
    let old = host("old", &[], FUNCTION).older().start();
    let to_old = host("c", &[&old.url()], FUNCTION).start();
    assert_eq!(call(&to_old).status, 200);
    let from_old = host("d", &[&b.url()], FUNCTION).older().start();
    assert_eq!(call(&from_old).status, 200);
}
