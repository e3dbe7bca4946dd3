//! The host that a call ends up on: URLs that lead home, one config for all hosts, circles, and equal names.

use framex_tests::{Daemon, FreeAddress, frames, until};
use serde_json::{Value, json};

use super::{FUNCTION, call, check_failed, host, runs};

/// Returns where the catalogue of a host says that [`FUNCTION`] runs.
fn runs_at(host: &Daemon) -> String {
    let catalogue = host.get("/api/v1/functions").json();
    let functions = catalogue["functions"].as_array().expect("the catalogue is a list").clone();
    let entry = functions.into_iter().find(|entry| entry["name"] == FUNCTION).expect("it is listed");
    entry["runs"].as_str().expect("it says where").to_owned()
}

/// Returns the answer of `explain`: the peer, and the sentences.
fn explained(host: &Daemon) -> (Value, String) {
    let explained = host.admin_get(&format!("explain/{FUNCTION}")).json();
    (explained["peer"].clone(), explained["because"].to_string())
}

#[track_caller]
fn check_served_by(host: &Daemon, expected: &str) {
    let served = call(host);
    assert_eq!(
        (served.status, served.header("x-framex-served-by")),
        (200, Some(expected)),
        "{}",
        String::from_utf8_lossy(&served.body)
    );
}

#[test]
fn the_peer_is_named_that_calls_go_to_now() {
    let b = host("b", &[], FUNCTION).start();
    let c = host("c", &[], FUNCTION).start();
    let [later, first] = [b.url(), c.url()];
    let a = host("a", &[], FUNCTION)
        .config(&format!("plugins.proxy.proxy_urls.{later:?}.priority = 5\n"))
        .config(&format!("plugins.proxy.proxy_urls.{first:?}.priority = 0\n"))
        .config(&format!("plugins.proxy.proxy_functions.{later:?} = [{FUNCTION:?}]\n"))
        .config(&format!("plugins.proxy.proxy_functions.{first:?} = [{FUNCTION:?}]\n"))
        .start();
    check_served_by(&a, "c");
    let (peer, because) = explained(&a);
    assert_eq!((peer, runs_at(&a)), (json!(first), first));
    assert!(because.contains("rule 1: peers of priority 0 are asked first"), "{because}");
    assert!(!because.contains("by their weights"), "each has a priority of its own: {because}");
    c.stop();
    until("the host that is gone is paused", || {
        check_served_by(&a, "b");
        let (peer, because) = explained(&a);
        peer == later && because.contains("at present none of a lower priority than 5 may be asked")
    });
    until("the list says so as well", || {
        check_served_by(&a, "b");
        runs_at(&a) == later
    });
}

#[test]
fn what_falls_back_is_said() {
    let nowhere = FreeAddress::find().url();
    let a = host("a", &[&nowhere], FUNCTION).config("plugins.proxy.fallback = \"local\"").start();
    check_served_by(&a, "a");
    let (peer, because) = explained(&a);
    assert_eq!(peer, nowhere);
    let says = "a call that provably no peer has run runs here: plugin `misbehave`, generation 1, has it";
    assert!(because.contains(says), "{because}");
    let printed = a.run(&["explain", FUNCTION]).stdout;
    assert!(printed.starts_with(&format!("`{FUNCTION}` runs on {nowhere}")), "{printed}");
    let without = host("a", &[&nowhere], FUNCTION).start();
    assert!(!explained(&without).1.contains("fallback"));
}

#[test]
fn a_url_that_leads_home_is_this_host() {
    let home = FreeAddress::find();
    let a = host("a", &[&home.url()], FUNCTION).listen(home).start();
    assert_eq!(runs_at(&a), home.url());
    check_served_by(&a, "a");
    assert_eq!(runs_at(&a), "local");
    check_served_by(&a, "a");
    assert_eq!(runs(&a), 2);
    a.wait_for_log("leads back to this very host");
    a.stop();
}

#[test]
fn a_url_that_leads_home_is_found_by_the_call_of_a_peer() {
    let home = FreeAddress::find();
    let b = host("b", &[&home.url()], FUNCTION).listen(home).start();
    let envelope = framex_host::wire::RequestEnvelope {
        hops: vec!["a".into()],
        ..frames::envelope(FUNCTION, &json!({"text": super::TRACE}))
    };
    for _ in 0..2 {
        let answer = frames::call_sealed(&b.url(), &frames::key(), &envelope);
        assert!(answer.outcome.is_ok(), "{:?}", answer.outcome);
    }
    assert_eq!(runs(&b), 2);
}

#[test]
fn one_config_serves_on_every_host() {
    let (at_a, at_b) = (FreeAddress::find(), FreeAddress::find());
    for urls in [[at_a.url(), at_b.url()], [at_b.url(), at_a.url()]] {
        let urls = urls.each_ref().map(String::as_str);
        let first = if urls[0] == at_a.url() { "a" } else { "b" };
        let a = host("a", &urls, FUNCTION).listen(at_a).start();
        let b = host("b", &urls, FUNCTION).listen(at_b).start();
        for _ in 0..3 {
            check_served_by(&b, first);
            check_served_by(&a, first);
        }
        let (served, other) = if first == "a" { (a, b) } else { (b, a) };
        assert_eq!((runs(&served), runs(&other)), (6, 0));
        assert_eq!(runs_at(&served), "local");
        // The other one takes over where the first is gone.
        served.stop();
        let name = if first == "a" { "b" } else { "a" };
        check_served_by(&other, name);
        check_served_by(&other, name);
        other.stop();
    }
}

#[test]
fn one_config_serves_where_the_first_host_lacks_the_plugin() {
    let (at_a, at_b) = (FreeAddress::find(), FreeAddress::find());
    let urls = [at_a.url(), at_b.url()];
    let urls = urls.each_ref().map(String::as_str);
    let a = host("a", &urls, FUNCTION).config("load_plugins = [\"demo\"]").listen(at_a).start();
    let b = host("b", &urls, FUNCTION).listen(at_b).start();
    for _ in 0..3 {
        check_served_by(&a, "b");
        check_served_by(&b, "b");
    }
    assert_eq!(runs(&b), 6);
}

#[test]
fn one_config_that_names_one_host_serves_on_both() {
    let at_b = FreeAddress::find();
    let b = host("b", &[&at_b.url()], FUNCTION).listen(at_b).start();
    let a = host("a", &[&at_b.url()], FUNCTION).start();
    // First through the other host, so that `b` meets its own URL inside another host's call.
    check_served_by(&a, "b");
    check_served_by(&b, "b");
    assert_eq!((runs_at(&b), runs_at(&a)), ("local".to_owned(), at_b.url()));
    assert_eq!((runs(&a), runs(&b)), (0, 2));
}

#[test]
fn a_plugin_calls_its_own_function_through_a_url_that_leads_home() {
    let home = FreeAddress::find();
    let a = host("a", &[&home.url()], "misbehave.functions.fails").listen(home).start();
    for _ in 0..2 {
        let caught = a.call("misbehave.functions.catches_failure", &json!({"id": 7}));
        assert_eq!((caught.status, caught.json()), (200, json!("nearest is 8")));
    }
}

#[test]
fn two_hosts_of_one_name_are_told_apart_and_told_so() {
    let b = host("twin", &[], FUNCTION).start();
    let a = host("twin", &[&b.url()], FUNCTION).start();
    for _ in 0..2 {
        let refused = call(&a);
        check_failed(&refused, 508, "loop_detected", Some(false));
        let text = refused.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains("two hosts have the id `twin`"), "{text}");
    }
    assert_eq!((runs(&a), runs(&b)), (0, 0));
    assert_eq!(runs_at(&a), b.url(), "the URL does not lead home");
}

#[test]
fn a_circle_is_refused() {
    let (at_a, at_b) = (FreeAddress::find(), FreeAddress::find());
    let a = host("a", &[&at_b.url()], FUNCTION).listen(at_a).start();
    let b = host("b", &[&at_a.url()], FUNCTION).listen(at_b).start();
    for host in [&a, &b, &a] {
        let refused = call(host);
        check_failed(&refused, 508, "loop_detected", Some(false));
        let text = refused.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains("a to b to a") || text.contains("b to a to b"), "{text}");
    }
    assert_eq!((runs(&a), runs(&b)), (0, 0));
}
