//! Rule 3 of routing: what the catalogue of a peer offers runs there.

mod answers;
mod keys;

use std::time::{Duration, Instant};

use framex_tests::{Build, Daemon, DaemonBuilder, FaultyPeer, FreeAddress, frames, http_answer};
use serde_json::{Value, json};

use super::{FUNCTION, call, check_failed};

/// The interval at which hosts of these tests fetch catalogues.
const INTERVAL_MS: u64 = 150;

/// A host with the plugin `demo` alone, which asks the peers at `urls` for their catalogues.
fn lister(id: &str, urls: &[&str]) -> DaemonBuilder {
    Daemon::builder()
        .config(&format!("host_id = {id:?}\nplugins.proxy.proxy_urls = {urls:?}"))
        .config(&format!("plugins.proxy.catalogue_interval_ms = {INTERVAL_MS}"))
        .plugin("demo")
}

/// The same, with the key that all these hosts have.
fn sealing_lister(id: &str, urls: &[&str]) -> DaemonBuilder {
    lister(id, urls).config(&frames::rules(&[frames::SECRET]))
}

/// A host with [`FUNCTION`].
fn offerer(id: &str) -> DaemonBuilder {
    sealing_lister(id, &[]).plugin("misbehave")
}

/// Waits until something is so.
#[track_caller]
fn until(host: &Daemon, what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: {}", host.log());
        std::thread::yield_now();
    }
}

/// The entry of a function in the catalogue of a host.
fn entry(host: &Daemon, function: &str) -> Option<Value> {
    let catalogue = host.get("/api/v1/functions").json();
    let entries = catalogue["functions"].as_array().expect("the catalogue is a list").clone();
    entries.into_iter().find(|entry| entry["name"] == function)
}

#[track_caller]
fn until_listed(host: &Daemon, function: &str) {
    until(host, "it is not listed", || entry(host, function).is_some());
}

#[track_caller]
fn check_served_by(host: &Daemon, expected: &str) {
    let served = call(host);
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some(expected)), "{served:?}");
}

/// Returns how often the catalogue of a peer was fetched, with this result.
fn fetches(host: &Daemon, url: &str, result: &str) -> f64 {
    host.metric(&format!("framex_peer_catalogue_fetches_total{{peer=\"{url}\",result=\"{result}\"}}"))
}

fn because(host: &Daemon, function: &str) -> String {
    host.admin_get(&format!("explain/{function}")).json()["because"].to_string()
}

/// The answer of a scripted peer to the request for its catalogue.
fn catalogue_of(id: &str, entries: &Value) -> Vec<u8> {
    let body = json!({ "host_id": id, "functions": entries }).to_string();
    http_answer("200 OK", &[("content-type", "application/json")], body.as_bytes())
}

#[test]
fn a_function_that_only_a_peer_has_runs_there() {
    let b = offerer("b").build(Build::new(1)).start();
    let a = sealing_lister("a", &[&b.url()]).start();
    until_listed(&a, FUNCTION);
    check_served_by(&a, "b");
    // As at home, with the words of the peer.
    let name = "misbehave.functions.counts_idempotent";
    let (here, there) = (entry(&a, name).unwrap(), entry(&b, name).unwrap());
    for key in ["name", "description", "idempotent", "arguments", "result"] {
        assert_eq!(here[key], there[key], "{key}");
    }
    assert_eq!(
        (&here["runs"], &here["plugin"], &here["idempotent"]),
        (&json!(b.url()), &Value::Null, &json!(true))
    );
    let openapi = a.get("/api/v1/openapi.json").json();
    assert!(openapi["paths"].get(format!("/api/v1/functions/{name}")).is_some());
    let table = a.run(&["functions"]).stdout;
    assert!(table.lines().any(|line| line.contains(FUNCTION) && line.contains(&b.url())), "{table}");
    // What both have runs at home.
    let arguments = json!({"id": 1, "user": {"id": 1, "name": "Ada"}});
    let served = a.call("demo.some.example_func", &arguments);
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("a")));
    let near = a.call("misbehave.functions.lgos", &json!({}));
    assert_eq!(near.status, 404);
    assert!(near.json()["detail"].as_str().unwrap().contains(FUNCTION), "{near:?}");
    let explained = because(&a, "misbehave.functions.lgos");
    assert!(explained.contains("no catalogue of the 1 peers") && explained.contains(FUNCTION), "{explained}");
    let explained = because(&a, FUNCTION);
    for part in
        ["rule 2: no published plugin", "rule 3: the catalogue of", "ago, offers it: ok, last success"]
    {
        assert!(explained.contains(part), "{explained}");
    }
    let peers = a.admin_get("peers").json()["peers"][0].clone();
    assert!(
        peers["catalogue"]["functions"].as_u64() > Some(10) && peers["catalogue"]["host_id"] == "b",
        "{peers}"
    );
    assert!(peers["catalogue"]["fetched_at"].is_string() && peers["catalogue"]["last_failure"].is_null());
    let table = a.run(&["-o", "wide", "peers"]).stdout;
    assert!(table.contains("FETCHED") && table.contains(&b.url()), "{table}");
}

#[test]
fn plugins_call_functions_that_a_peer_offers() {
    let b = sealing_lister("b", &[]).build(Build::new(1)).start();
    let a = sealing_lister("a", &[&b.url()]).plugin("misbehave").start();
    until_listed(&a, "changing.functions.build");
    let served = a.call("misbehave.functions.asks_build", &json!({}));
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("a")), "{served:?}");
}

#[test]
fn a_catalogue_stays_while_its_peer_is_away() {
    let at_b = FreeAddress::find();
    let url = at_b.url();
    // It comes up later than the host that lists it.
    let a = sealing_lister("a", &[&url]).start();
    until(&a, "it was not asked for", || fetches(&a, &url, "failed") >= 1.0);
    assert_eq!(call(&a).status, 404);
    assert!(because(&a, FUNCTION).contains("has given no catalogue"), "{}", because(&a, FUNCTION));
    let b = offerer("b").listen(at_b).start();
    until_listed(&a, FUNCTION);
    check_served_by(&a, "b");
    b.stop();
    let failed = fetches(&a, &url, "failed");
    until(&a, "it was not asked for again", || fetches(&a, &url, "failed") > failed);
    check_failed(&call(&a), 503, "unavailable", Some(false));
    assert!(entry(&a, FUNCTION).is_some());
    assert!(because(&a, FUNCTION).contains("kept though it could not be fetched again"));
    let failure = a.admin_get("peers").json()["peers"][0]["catalogue"]["last_failure"].clone();
    assert!(failure["reason"].as_str().is_some_and(|reason| reason.contains("no connection")), "{failure}");
    let _b = offerer("b").listen(at_b).start();
    until(&a, "it does not serve", || call(&a).status == 200);
}

#[test]
fn a_function_that_a_peer_no_longer_has_is_not_found() {
    let b = offerer("b").start();
    // Long enough that only the answer to a call can trigger another fetch of the catalogue.
    let a = sealing_lister("a", &[&b.url()])
        .variable("FRAMEX_PLUGINS__PROXY__CATALOGUE_INTERVAL_MS", "3600000")
        .start();
    until_listed(&a, FUNCTION);
    check_served_by(&a, "b");
    assert_eq!(b.admin_post("plugins/misbehave/unload", &json!({})).status, 200);
    check_failed(&call(&a), 404, "not_found", Some(false));
    until(&a, "it is still listed", || entry(&a, FUNCTION).is_none());
    check_failed(&call(&a), 404, "not_found", Some(false));
    assert_eq!(
        a.metric(&format!("framex_peer_calls_total{{peer=\"{}\",outcome=\"not_found\"}}", b.url())),
        1.0
    );
}

#[test]
fn hosts_that_list_each_other_make_no_circle() {
    let (at_a, at_b) = (FreeAddress::find(), FreeAddress::find());
    let host = |id: &str, at: FreeAddress, other: &str| {
        let builder = sealing_lister(id, &[other, &at.url()]).plugin("misbehave").listen(at);
        builder.variable("FRAMEX_PLUGINS__PROXY__CATALOGUE_INTERVAL_MS", "3600000").start()
    };
    // Each knows the other's functions, as they were before both unload them.
    let b = host("b", at_b, &at_a.url());
    let a = host("a", at_a, &at_b.url());
    until(&a, "no catalogue", || fetches(&a, &at_b.url(), "ok") >= 1.0);
    until(&b, "no catalogue", || fetches(&b, &at_a.url(), "ok") >= 1.0);
    for host in [&a, &b] {
        assert_eq!(host.admin_post("plugins/misbehave/unload", &json!({})).status, 200);
    }
    for host in [&a, &b] {
        check_failed(&call(host), 404, "not_found", Some(false));
    }
    let sum = |host: &Daemon, url: &str, outcome: &str| {
        host.metric(&format!("framex_peer_calls_total{{peer=\"{url}\",outcome=\"{outcome}\"}}"))
    };
    assert!(sum(&a, &at_b.url(), "not_found") + sum(&b, &at_a.url(), "not_found") <= 2.0, "{}", a.metrics());
    assert_eq!(sum(&a, &at_b.url(), "loop_detected") + sum(&b, &at_a.url(), "loop_detected"), 0.0);
}

#[test]
fn several_peers_that_offer_it_share_it_as_configured_ones_do() {
    let (first, spare) = (offerer("first").start(), offerer("spare").start());
    let urls = [first.url(), spare.url()];
    let a = sealing_lister("a", &[]).variable(
        "FRAMEX_PLUGINS__PROXY__PROXY_URLS",
        &format!("{{ {:?} = {{ priority = 0 }}, {:?} = {{ priority = 1 }} }}", urls[0], urls[1]),
    );
    let a = a.start();
    for url in &urls {
        until(&a, "no catalogue", || fetches(&a, url, "ok") >= 1.0);
    }
    (0..5).for_each(|_| check_served_by(&a, "first"));
    first.stop();
    (0..5).for_each(|_| check_served_by(&a, "spare"));
}

#[test]
fn only_functions_that_all_peers_mark_idempotent_are_retried() {
    const IDEMPOTENT: &str = "misbehave.functions.counts_idempotent";
    const ONCE: &str = "misbehave.functions.counts";
    let entries =
        json!([IDEMPOTENT, ONCE].map(|name| json!({ "name": name, "runs": "local", "idempotent": true })));
    let resetting = FaultyPeer::start(move |conversation| {
        while let Some((head, _)) = conversation.message() {
            if !head.starts_with("get /api/v1/functions ") || !conversation.send(&catalogue_of("r", &entries))
            {
                return;
            }
        }
    });
    let good = offerer("good").start();
    // A new one knows nothing of how the peers fare.
    let host = || {
        let a = sealing_lister("a", &[&resetting.url(), &good.url()]).start();
        for url in [resetting.url(), good.url()] {
            until(&a, "no catalogue", || fetches(&a, &url, "ok") >= 1.0);
        }
        a
    };
    let a = host();
    for _ in 0..20 {
        assert_eq!(a.call(IDEMPOTENT, &json!({})).status, 200);
    }
    let a = host();
    // Only one of the two says so: a peer that lies speaks for itself.
    let failed = (0..40).map(|_| a.call(ONCE, &json!({}))).find(|answer| answer.status != 200);
    let failed = failed.expect("the peer that resets was asked");
    check_failed(&failed, 503, "unavailable", None);
}

#[test]
fn a_reload_keeps_the_catalogues_of_peers_that_stay() {
    let peer = FaultyPeer::start(|conversation| {
        while let Some((head, _)) = conversation.message() {
            let answer = match head.starts_with("get /api/v1/functions ") && !head.contains("if-none-match") {
                true => http_answer(
                    "200 OK",
                    &[("etag", "\"1\"")],
                    br#"{"functions": [{"name": "far.f", "runs": "local"}]}"#,
                ),
                false => http_answer("500 Internal Server Error", &[], b""),
            };
            if !conversation.send(&answer) {
                return;
            }
        }
    });
    let a = sealing_lister("a", &[&peer.url()]).start();
    until_listed(&a, "far.f");
    let config = std::fs::read_to_string(a.folder().join("config.toml")).unwrap();
    let (list, map) = (format!("[{:?}]", peer.url()), format!("{{ {:?} = {{ weight = 7 }} }}", peer.url()));
    a.put_config(&config.replace(&list, &map));
    let reloaded = a.reload_host();
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    assert_eq!(entry(&a, "far.f").unwrap()["runs"], peer.url());
    let failed = fetches(&a, &peer.url(), "failed");
    until(&a, "it is watched no more", || fetches(&a, &peer.url(), "failed") > failed);
    assert!(entry(&a, "far.f").is_some());
    // One that is no longer listed is not asked any more, and offers nothing.
    let other = FaultyPeer::serving(|_, _| catalogue_of("other", &json!([])));
    a.put_config(&config.replace(&list, &format!("[{:?}]", other.url())));
    assert_eq!(a.reload_host().status, 200);
    assert!(entry(&a, "far.f").is_none());
    let asked = peer.requests();
    until(&a, "the other one is not asked", || fetches(&a, &other.url(), "ok") >= 5.0);
    assert!(peer.requests() <= asked + 1, "one may have been on its way");
    a.stop();
}

#[test]
fn the_log_has_the_words_of_explain_for_each_call() {
    let b = offerer("b").start();
    let a = sealing_lister("a", &[&b.url()]).config("log.level = \"debug\"").start();
    let name = "demo.some.example_func";
    assert_eq!(a.call(name, &json!({"id": 1, "user": {"id": 1, "name": "Ada"}})).status, 200);
    let logged = a.logged("where the call runs");
    let explained = a.admin_get(&format!("explain/{name}")).json();
    let words: Vec<&str> =
        explained["because"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((&logged["function"], &logged["because"]), (&json!(name), &json!(words.join("; "))));
    until_listed(&a, FUNCTION);
    check_served_by(&a, "b");
    a.wait_for_log("offers it: ok, last success");
    let quiet = sealing_lister("quiet", &[]).start();
    assert_eq!(quiet.call(name, &json!({"id": 1, "user": {"id": 1, "name": "Ada"}})).status, 200);
    assert!(!quiet.log().contains("where the call runs"));
}
