//! Keys that open, keys that seal, and hosts without any.

use framex_host::base::ErrorCode;
use framex_tests::{Daemon, frames};
use serde_json::json;

use super::{DEMO, ada, check_unauthentic, failure, host};

/// The key that hosts of one machine seal with if none is configured.
const PUBLIC_SECRET: &str = "fxk1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Host `a`, on which the function runs on the host at `url`.
fn caller(url: &str, function: &str, rules: &str) -> Daemon {
    Daemon::builder()
        .config("host_id = \"a\"")
        .config(rules)
        .config(&format!("plugins.proxy.proxy_urls = [\"{url}\"]"))
        .config(&format!("plugins.proxy.proxy_functions = {{ \"{url}\" = [\"{function}\"] }}"))
        .plugin("demo")
        .plugin("misbehave")
        .start()
}

#[test]
fn other_keys_open_nothing() {
    let host = host();
    for secret in [frames::OTHER_SECRET, PUBLIC_SECRET, "passphrase"] {
        let (_, frame) = frames::seal(&frames::key_of(secret), &frames::envelope(DEMO, &ada()));
        check_unauthentic(&host, secret, &frame);
        // With the right id the tag is still another.
        let mut named = frame;
        named[8..16].copy_from_slice(&frames::key().id());
        check_unauthentic(&host, secret, &named);
    }
}

#[test]
fn a_caller_with_another_key_is_told_so() {
    let b = host();
    let a = caller(&b.url(), DEMO, &frames::rules(&[frames::OTHER_SECRET]));
    let answer = a.call(DEMO, &ada());
    // The client of A has no part in that.
    let says = format!("the peer that function `{DEMO}` runs on does not accept this host's key");
    assert_eq!(answer.problem(), (503, "unavailable".to_owned(), says));
    assert_eq!(answer.header("x-framex-served-by"), None, "nothing ran");
}

#[test]
fn hosts_of_one_machine_need_no_key() {
    let b = Daemon::builder().config("host_id = \"b\"").plugin("demo").start();
    let a = caller(&b.url(), DEMO, "");
    let answer = a.call(DEMO, &ada());
    assert_eq!((answer.status, answer.json()), (200, json!("7: Ada")));
    assert_eq!(answer.header("x-framex-served-by"), Some("b"));
}

#[test]
fn a_public_listener_without_a_key_answers_no_frame() {
    let b = Daemon::builder().config("host_id = \"b\"\nserver.host = \"0.0.0.0\"").plugin("demo").start();
    let port = b.address().rsplit_once(':').expect("an address has a port").1;
    let url = format!("http://127.0.0.1:{port}");
    let (_, frame) = frames::seal(&frames::key_of(PUBLIC_SECRET), &frames::envelope(DEMO, &ada()));
    let answer = frames::post_frame(&url, &frame);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("unauthenticated")));
    let a = caller(&url, DEMO, "");
    assert!(a.call(DEMO, &ada()).problem().2.ends_with("does not accept this host's key"));
    b.wait_for_log("sealed frames are refused, as this host has no key for them");
}

#[test]
fn keys_rotate_without_a_gap() {
    let (old, new) = (frames::SECRET, frames::OTHER_SECRET);
    let both = Daemon::builder()
        .config("host_id = \"b\"")
        .config(&frames::rules(&[new, old]))
        .plugin("demo")
        .start();
    for secret in [old, new] {
        // The answer opens with the key that sealed the call.
        let key = frames::key_of(secret);
        assert!(frames::call_sealed(&both.url(), &key, &frames::envelope(DEMO, &ada())).outcome.is_ok());
        // And so do hosts that know only one of them.
        let a = caller(&both.url(), DEMO, &frames::rules(&[secret]));
        assert_eq!(a.call(DEMO, &ada()).status, 200);
    }
    for (secrets, status) in [([new, old], 200), ([old, new], 503)] {
        // The first one seals: a peer that knows only the new one says which it was.
        let only_new =
            Daemon::builder().config(&frames::rules(&[new])).config("host_id = \"c\"").plugin("demo").start();
        let a = caller(&only_new.url(), DEMO, &frames::rules(&secrets));
        assert_eq!(a.call(DEMO, &ada()).status, status, "{secrets:?}");
    }
}

#[test]
fn errors_of_another_host_arrive_with_their_type() {
    let b = host();
    let rules = frames::rules(&[frames::SECRET]);
    let a = caller(&b.url(), "misbehave.functions.fails", &rules);
    // The plugin on `a` matches on the variant that was made on `b`.
    let caught = a.call("misbehave.functions.catches_failure", &json!({"id": 7}));
    assert_eq!((caught.status, caught.json()), (200, json!("nearest is 8")));
    assert_eq!(caught.header("x-framex-served-by"), Some("a"));

    let failed = a.call("misbehave.functions.fails", &json!({"id": 7}));
    let problem = failed.json();
    assert_eq!((failed.status, failed.header("x-framex-served-by")), (422, Some("b")));
    assert_eq!((&problem["code"], &problem["app_code"]), (&json!("failed"), &json!("no_such_user")));
    assert_eq!((&problem["executed"], &problem["details"]["NoSuchUser"]["id"]), (&json!(true), &json!(7)));

    let a = caller(&b.url(), "misbehave.functions.panics", &rules);
    let failed = a.call("misbehave.functions.panics", &json!({"message": "secret of b"}));
    assert_eq!((failed.status, failed.json()["code"].as_str()), (500, Some("panic")));
    assert!(!String::from_utf8_lossy(&failed.body).contains("secret of b"));
    b.wait_for_log("secret of b");
}

#[test]
fn a_host_that_lacks_the_function_says_so() {
    let b = Daemon::builder().config("host_id = \"b\"").config(&frames::rules(&[frames::SECRET])).start();
    let answer = frames::call_sealed(&b.url(), &frames::key(), &frames::envelope(DEMO, &ada()));
    assert_eq!(failure(answer).code, ErrorCode::NotFound);
    let a = caller(&b.url(), DEMO, &frames::rules(&[frames::SECRET]));
    let refused = a.call(DEMO, &ada());
    assert_eq!((refused.status, refused.json()["code"].as_str()), (404, Some("not_found")));
}
