//! One decision for all doors: where plain calls need a key, no sealed call without one runs, and the lists, OpenAPI
//! and `check` say the same.

use framex_tests::{Daemon, DaemonBuilder, frames, send};
use serde_json::{Value, json};

use super::{BODY, CALL, FUNCTIONS};

/// The key that hosts of one machine seal with if none is configured.
const PUBLIC: &str = "fxk1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const DEMO: &str = "demo.some.example_func";
const OPENAPI: &str = "/api/v1/openapi.json";
const KEY: &str = "a-key-of-16-bytes";

/// Returns what `check` says that a config leaves open.
#[derive(Debug, Clone, Copy)]
struct Open {
    calls: bool,
    sealed: &'static str,
    catalogue: bool,
    openapi: bool,
}

fn host(config: &str) -> DaemonBuilder {
    Daemon::builder().plugin("demo").config(config)
}

fn rules(table: &str, paths: &[&str]) -> String {
    let rules: Vec<String> = paths.iter().map(|path| format!("{path:?} = [{KEY:?}]")).collect();
    format!("[{table}]\nrules = {{ {} }}\n", rules.join(", "))
}

fn sealed_status(host: &Daemon) -> u16 {
    let arguments: Value = serde_json::from_slice(BODY).unwrap();
    let (_, frame) = frames::seal(&frames::key_of(PUBLIC), &frames::envelope(DEMO, &arguments));
    let answer = frames::post_frame(&host.url(), &frame);
    if answer.status != 200 {
        let expected = (401, "unauthenticated".to_owned(), "this path needs a valid key".to_owned());
        assert_eq!(answer.problem(), expected);
    }
    answer.status
}

#[track_caller]
fn check(config: &str, expected: Open) {
    let builder = host(config);
    let checked = builder.run(&["check", "--output", "json"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let said: Value = serde_json::from_str(&checked.stdout).unwrap();
    let word = |is_open: bool| if is_open { "open" } else { "key" };
    let access = json!({
        "calls": word(expected.calls), "sealed_calls": expected.sealed, "catalogue": word(expected.catalogue),
        "openapi": word(expected.openapi), "names": ["test", "a"], "only_from_this_machine": true,
    });
    assert_eq!(said["access"], access, "{config}");
    let is_warned = said["warnings"].to_string().contains("`/api/v1/proxy/remote` answers no host");
    assert_eq!(is_warned, expected.sealed == "closed", "{config}");
    let host = builder.start();
    let status = |is_open: bool| if is_open { 200 } else { 401 };
    let json = [("content-type", "application/json")];
    let plain = send("POST", &format!("{}{CALL}", host.url()), &json, BODY);
    assert_eq!(sealed_status(&host), status(expected.sealed == "open"), "{config}");
    assert!(plain.status == 200 || sealed_status(&host) == 401, "{config}: a frame is the way around a rule");
    assert_eq!(host.get(FUNCTIONS).status, status(expected.catalogue), "{config}");
    let with_key = [("authorization", KEY)];
    let document = send("GET", &format!("{}{OPENAPI}", host.url()), &with_key, b"").json();
    assert_eq!(host.get(OPENAPI).status, status(expected.openapi), "{config}");
    if document["paths"].is_object() {
        let operation = &document["paths"][CALL]["post"];
        let said = operation.get("security").unwrap_or(&document["security"]);
        let needs_key = *said == json!([{ "key": [] }]);
        assert_eq!(needs_key, plain.status == 401, "{config}: {said}");
    }
    host.stop();
}

#[test]
fn keyless_frames_run_only_where_plain_calls_need_no_key() {
    let open = Open { calls: true, sealed: "open", catalogue: true, openapi: true };
    check("", open);
    let closed = Open { sealed: "closed", ..open };
    let all = Open { calls: false, sealed: "closed", catalogue: false, openapi: false };
    for (path, expected) in [
        ("/api/v1/*", all),
        ("/*", all),
        ("/api/v1/functions/*", Open { calls: false, ..closed }),
        // For one function, or for the sealed path by a rule of callers, whose keys seal nothing.
        (CALL, closed),
        ("/api/v1/functions/another.function", closed),
        ("/api/v1/proxy/*", closed),
        (FUNCTIONS, Open { catalogue: false, ..open }),
        (OPENAPI, Open { openapi: false, ..open }),
        ("/health", open),
    ] {
        check(&rules("auth", &[path]), expected);
    }
}

#[test]
fn rules_of_the_proxy_close_keyless_frames_where_there_is_no_auth() {
    let open = Open { calls: true, sealed: "open", catalogue: true, openapi: true };
    let protected = rules("plugins.proxy.auth", &["/api/v1/functions/*"]);
    check(&protected, Open { calls: false, sealed: "closed", ..open });
    check(&rules("plugins.proxy.auth", &[CALL]), Open { sealed: "closed", ..open });
    // A rule there that covers the sealed path has the keys that seal.
    let sealing = Open { calls: false, sealed: "key", catalogue: false, openapi: false };
    check(&rules("plugins.proxy.auth", &["/api/v1/*"]), sealing);
    // With `[auth]`, they protect nothing: plain calls need no key, and so frames need none.
    check(&format!("{protected}{}", rules("auth", &["/health"])), open);
    check(&format!("{protected}{}", rules("auth", &["/api/v1/*"])), Open { sealed: "closed", ..sealing });
    check(&rules("auth", &["/api/v1/proxy/remote"]), Open { sealed: "key", ..open });
}

#[test]
fn callers_close_keyless_frames() {
    let all = Open { calls: false, sealed: "key", catalogue: false, openapi: false };
    let callers = format!("[auth.callers.web]\nkeys = [{KEY:?}]\nfunctions = [\"demo.*\"]\n");
    check(&callers, all);
    check(&format!("{callers}{}", rules("plugins.proxy.auth", &["/health"])), all);
}

#[test]
fn a_rule_comes_into_force_for_frames_with_a_reload() {
    let host = host("").start();
    assert_eq!(sealed_status(&host), 200);
    host.put_config(&rules("auth", &["/api/v1/functions/*"]));
    let reloaded = host.reload_host();
    assert_eq!(reloaded.status, 200);
    assert!(reloaded.json()["warnings"].to_string().contains("/api/v1/proxy/remote"), "{reloaded:?}");
    assert_eq!(sealed_status(&host), 401);
    host.put_config("");
    assert_eq!(host.reload_host().status, 200);
    assert_eq!(sealed_status(&host), 200);
    host.stop();
}

#[test]
fn strangers_are_told_which_plugins_failed_and_not_why() {
    let caller = "[auth.callers.web]\nkeys = [\"web-key-of-16-bytes\"]\nfunctions = []\n";
    let config = format!("{}{caller}", rules("auth", &["/api/v1/*"]));
    let host = host(&config).plugin_bytes("libbroken.so", b"not a library").start();
    let ready = |key: Option<&str>| {
        let headers: Vec<(&str, &str)> = key.map(|key| ("authorization", key)).into_iter().collect();
        send("GET", &format!("{}/ready", host.url()), &headers, b"").json()
    };
    for stranger in [None, Some("wrong"), Some("Bearer wrong"), Some("")] {
        let said = ready(stranger);
        assert_eq!(said["failed_plugins"], json!([{ "plugin": "libbroken.so" }]), "{said}");
    }
    for known in [KEY, "web-key-of-16-bytes"] {
        let reason = ready(Some(known))["failed_plugins"][0]["reason"].clone();
        assert!(reason.as_str().unwrap().contains("libbroken.so"), "{reason}");
    }
    let admin = host.admin_get_at("/ready");
    assert!(admin.json()["failed_plugins"][0]["reason"].is_string(), "{admin:?}");
    assert_eq!(host.admin_get_at("/health").status, 200);
    host.stop();
}
