//! With which keys catalogues are asked for, what they show, and what a host answers to those who ask again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use framex_tests::{FaultyPeer, ForwardProxy, get, http_answer, send};
use serde_json::json;

use super::{
    FUNCTION, call, catalogue_of, check_failed, check_served_by, entry, fetches, frames, lister, offerer,
    until, until_listed,
};

/// Rules for the sealed path and another one.
fn rules(path: &str, key: &str) -> String {
    format!(
        "plugins.proxy.auth.rules = {{ \"/api/v1/proxy/remote\" = [{:?}], {path:?} = [{key:?}] }}",
        frames::SECRET
    )
}

#[test]
fn the_key_of_the_rule_opens_the_catalogue() {
    let b = lister("b", &[]).config(&rules("/api/v1/functions", "openapi-key")).plugin("misbehave").start();
    assert_eq!(b.get("/api/v1/functions").status, 401);
    for path in ["/api/v1/functions", "/api/v1/openapi.json"] {
        let a = lister("a", &[&b.url()]).config(&rules(path, "openapi-key")).start();
        until(&a, "no catalogue", || fetches(&a, &b.url(), "ok") >= 1.0);
        check_served_by(&a, "b");
        assert!(!a.log().contains("openapi-key"), "{}", a.log());
    }
}

#[test]
fn without_the_key_there_is_no_catalogue_until_a_reload_brings_it() {
    let b = lister("b", &[]).config(&rules("/api/v1/functions", "openapi-key")).plugin("misbehave").start();
    for wrong in [rules("/api/v1/openapi.json", "another-key"), frames::rules(&[frames::SECRET])] {
        let a = lister("a", &[&b.url()]).config(&wrong).start();
        until(&a, "it was not asked for", || fetches(&a, &b.url(), "failed") >= 1.0);
        a.wait_for_log("HTTP status 401");
        assert_eq!((fetches(&a, &b.url(), "ok"), call(&a).status), (0.0, 404));
        let config = std::fs::read_to_string(a.folder().join("config.toml")).unwrap();
        a.put_config(&config.replace(&wrong, &rules("/api/v1/openapi.json", "openapi-key")));
        assert_eq!(a.reload_host().status, 200);
        until(&a, "no catalogue", || fetches(&a, &b.url(), "ok") >= 1.0);
        check_served_by(&a, "b");
    }
}

#[test]
fn a_key_that_seals_never_travels() {
    let peer = FaultyPeer::serving(|head, _| {
        let status = if head.contains("authorization") { "200 OK" } else { "401 Unauthorized" };
        http_answer(status, &[], b"{\"functions\": []}")
    });
    let a = lister("a", &[&peer.url()]).config(&rules("/api/v1/functions", frames::SECRET));
    let checked = a.run(&["check"]);
    assert!(format!("{}{}", checked.stdout, checked.stderr).contains("seals calls as well"), "{checked:?}");
    let a = a.start();
    until(&a, "it was not asked for", || fetches(&a, &peer.url(), "failed") >= 2.0);
    assert_eq!(fetches(&a, &peer.url(), "ok"), 0.0);
}

#[test]
fn marks_that_may_have_been_changed_on_the_way_have_nothing_run_twice() {
    const NAME: &str = "far.idempotent";
    let entries = json!([{ "name": NAME, "runs": "local", "idempotent": true }]);
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&posts);
    let peer = FaultyPeer::start(move |conversation| {
        while let Some((head, _)) = conversation.message() {
            let is_call = head.starts_with("post ");
            counted.fetch_add(usize::from(is_call), Ordering::SeqCst);
            if is_call || !conversation.send(&catalogue_of("far", &entries)) {
                return;
            }
        }
    });
    let proxy = ForwardProxy::start("host-b.test", peer.url().trim_start_matches("http://"));
    let proxy_url = format!("http://{}", proxy.address());
    for (url, is_in_clear) in [("http://host-b.test:80".to_owned(), true), (peer.url(), false)] {
        let a = lister("a", &[&url])
            .config(&frames::rules(&[frames::SECRET]))
            .variable("http_proxy", &proxy_url)
            .start();
        until_listed(&a, NAME);
        assert_eq!(entry(&a, NAME).unwrap()["idempotent"], true);
        let before = posts.load(Ordering::SeqCst);
        let answer = a.call_within(NAME, &json!({}), 1000);
        check_failed(&answer, 503, "unavailable", None);
        assert_eq!(
            posts.load(Ordering::SeqCst) == before + 1,
            is_in_clear,
            "{url}: {} calls",
            posts.load(Ordering::SeqCst)
        );
    }
}

#[test]
fn a_caller_sees_only_the_functions_of_a_peer_that_it_may_call() {
    let b = offerer("b").start();
    let a = lister("a", &[&b.url()])
        .config(&frames::rules(&[frames::SECRET]))
        .config(
            "[auth.callers.one]\nkeys = [\"key-of-caller-one\"]\nfunctions = [\"misbehave.functions.logs\"]",
        )
        .start();
    until(&a, "no catalogue", || fetches(&a, &b.url(), "ok") >= 1.0);
    let key = [("authorization", "Bearer key-of-caller-one"), ("content-type", "application/json")];
    let ask = |method: &str, path: &str, body: &str| {
        send(method, &format!("{}/api/v1/functions{path}", a.url()), &key, body.as_bytes())
    };
    let seen = ask("GET", "", "").json();
    let names: Vec<&str> =
        seen["functions"].as_array().unwrap().iter().filter_map(|entry| entry["name"].as_str()).collect();
    assert_eq!(names, [FUNCTION]);
    assert_eq!(ask("POST", &format!("/{FUNCTION}"), "{\"text\": \"x\"}").status, 200);
    for other in ["misbehave.functions.counts", "misbehave.functions.none"] {
        let refused = ask("POST", &format!("/{other}"), "{}");
        assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("permission_denied")));
    }
}

#[test]
fn no_peer_is_asked_that_the_config_does_not_allow_to_ask() {
    let forbidden: Vec<FaultyPeer> = (0..3)
        .map(|_| FaultyPeer::serving(|_, _| http_answer("200 OK", &[], b"{\"functions\": []}")))
        .collect();
    let allowed = offerer("b").start();
    let lists = [
        "enable = [\"/api/v1/proxy/remote\"]",
        "disable = [\"/api/v1/functions\"]",
        "disable = [\"/api/v1/proxy/remote\"]",
    ];
    let mut urls = format!("{:?} = {{}}", allowed.url());
    for (peer, list) in forbidden.iter().zip(lists) {
        urls.push_str(&format!(", {:?} = {{ {list} }}", peer.url()));
    }
    let host = |more: &str| {
        let builder = lister("a", &[]).config(&frames::rules(&[frames::SECRET])).config(more);
        builder.variable("FRAMEX_PLUGINS__PROXY__PROXY_URLS", &format!("{{ {urls} }}")).start()
    };
    let a = host("");
    until(&a, "it was not asked for", || fetches(&a, &allowed.url(), "unchanged") >= 3.0);
    assert!(forbidden.iter().all(|peer| peer.connections() == 0));
    let a = host("plugins.proxy.white_list = [\"/api/v1/proxy/remote\"]");
    let explained = super::because(&a, FUNCTION);
    assert!(explained.contains("rule 3: no peer is asked for its catalogue"), "{explained}");
    let metrics = a.metrics();
    let mut asked = metrics.lines().filter(|line| line.starts_with("framex_peer_catalogue_fetches_total"));
    assert!(
        asked.all(|line| line.ends_with(" 0")) && metrics.contains("framex_peer_catalogue_fetches_total"),
        "{metrics}"
    );
}

#[test]
fn a_catalogue_that_is_known_is_not_sent_again() {
    let b = offerer("b").start();
    for path in ["/api/v1/functions", "/api/v1/openapi.json"] {
        let url = format!("{}{path}", b.url());
        let whole = get(&url);
        let tag = whole.header("etag").expect("it has a tag").to_owned();
        assert!(
            tag.starts_with('"') && whole.header("cache-control") == Some("private, no-cache"),
            "{whole:?}"
        );
        assert_eq!(get(&url).header("etag"), Some(&*tag), "it is the same for the same content");
        for known in [tag.clone(), format!("\"x\", W/{tag}")] {
            let unchanged = send("GET", &url, &[("if-none-match", &known)], b"");
            assert_eq!(
                (unchanged.status, unchanged.body.len(), unchanged.header("etag")),
                (304, 0, Some(&*tag))
            );
        }
        assert_eq!(send("GET", &url, &[("if-none-match", "\"x\"")], b"").status, 200);
        let head = send("HEAD", &url, &[], b"");
        let length = whole.body.len().to_string();
        assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some(&*length)));
        assert_eq!(head.header("etag"), Some(&*tag));
        assert_eq!(send("HEAD", &url, &[("if-none-match", &tag)], b"").status, 304);
    }
    // And hosts make use of it.
    let a = lister("a", &[&b.url()]).config(&frames::rules(&[frames::SECRET])).start();
    until_listed(&a, FUNCTION);
    until(&a, "it is sent again", || fetches(&a, &b.url(), "unchanged") >= 2.0);
    assert_eq!(fetches(&a, &b.url(), "ok"), 1.0);
    assert_eq!(b.admin_post("plugins/misbehave/unload", &json!({})).status, 200);
    until(&a, "it is still listed", || entry(&a, FUNCTION).is_none());
    assert_eq!(fetches(&a, &b.url(), "ok"), 2.0);
}
