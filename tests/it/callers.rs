//! Named callers: who may call which functions, over plain HTTP and sealed.

mod certificates;
mod paths;
mod rotation;
mod sealed;

use framex_tests::{Answer, Build, Daemon, DaemonBuilder, send};
use serde_json::{Value, json};

const DEMO: &str = "demo.some.example_func";
const LOGS: &str = "misbehave.functions.logs";
const FUNCTIONS: &str = "/api/v1/functions";
const OPENAPI: &str = "/api/v1/openapi.json";

/// May call what is below `demo`.
const WEB: &str = "web-key-of-16-bytes";
/// May call everything.
const OPS: &str = "ops-key-of-16-bytes";

fn callers() -> String {
    format!(
        "auth.callers.web = {{ keys = [{WEB:?}], functions = [\"demo.*\"] }}\n\
         auth.callers.ops = {{ keys = [\"env:OPS_KEY\"], functions = [\"*\"] }}"
    )
}

/// A host with two plugins and two callers.
fn host() -> DaemonBuilder {
    Daemon::builder()
        .config("host_id = \"b\"\n[log]\nlevel = \"debug\"\n")
        .plugin("demo")
        .plugin("misbehave")
        .variable("OPS_KEY", OPS)
}

fn with_callers() -> DaemonBuilder {
    let host = host();
    let toml = callers().replace("auth.", "");
    host.config(&format!("[auth]\n{toml}"))
}

fn ada() -> Value {
    json!({"id": 7, "user": {"id": 7, "name": "Ada"}})
}

fn ask(host: &Daemon, method: &str, path: &str, key: Option<&str>, body: &Value) -> Answer {
    let bearer = key.map(|key| format!("Bearer {key}"));
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(bearer.as_deref().map(|value| ("authorization", value)));
    let body = if method == "POST" { body.to_string() } else { String::new() };
    send(method, &format!("{}{path}", host.url()), &headers, body.as_bytes())
}

fn call(host: &Daemon, function: &str, key: Option<&str>, arguments: &Value) -> Answer {
    ask(host, "POST", &format!("{FUNCTIONS}/{function}"), key, arguments)
}

#[track_caller]
fn check_denied(answer: &Answer, sentence: &str) {
    let expected = (403, "permission_denied".to_owned(), sentence.to_owned());
    assert_eq!(answer.problem(), expected);
    assert_eq!(answer.json()["executed"], false);
}

#[track_caller]
fn check_unauthenticated(answer: &Answer) {
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (401, "unauthenticated"));
    assert!(
        detail.starts_with("no key was sent") || detail == "the key that was sent does not open this path"
    );
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
}

fn catalogue(host: &Daemon, key: &str) -> Vec<String> {
    let answer = ask(host, "GET", FUNCTIONS, Some(key), &json!({}));
    let functions = answer.json()["functions"].as_array().cloned().unwrap_or_default();
    functions.iter().map(|function| function["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_caller_calls_its_functions_and_no_others() {
    let host = with_callers().start();
    assert_eq!(call(&host, DEMO, Some(WEB), &ada()).json(), "7: Ada");
    assert_eq!(call(&host, DEMO, Some(OPS), &ada()).json(), "7: Ada");
    assert_eq!(call(&host, LOGS, Some(OPS), &json!({"text": "by ops"})).status, 200);
    let denied = call(&host, LOGS, Some(WEB), &json!({"text": "canary"}));
    check_denied(&denied, "caller `web` may not call function `misbehave.functions.logs`");
    assert_eq!(denied.header("x-framex-served-by"), None, "nothing ran");
    for key in [None, Some("wrong"), Some(""), Some("env:OPS_KEY"), Some(&WEB[1..])] {
        check_unauthenticated(&call(&host, DEMO, key, &ada()));
        check_unauthenticated(&call(&host, "there.is.none", key, &ada()));
    }
    // A caller is named for those who look for it, and no key is.
    host.wait_for_log("\"caller\":\"web\"");
    assert!(!host.log().contains("canary") && !host.log().contains(WEB) && !host.log().contains(OPS));
    host.stop();
}

#[test]
fn a_forbidden_function_looks_like_one_that_does_not_exist() {
    let host = with_callers().start();
    let there = call(&host, LOGS, Some(WEB), &json!({}));
    for function in
        ["misbehave.functions.logz", "demo", "Demo.some.example_func", "demo2.x", "some.example_func"]
    {
        let refused = call(&host, function, Some(WEB), &json!({}));
        check_denied(&refused, &format!("caller `web` may not call function `{function}`"));
        // Nothing but the name differs.
        let quoted = |name: &str| format!("`{name}`");
        let text = String::from_utf8_lossy(&refused.body).replace(&quoted(function), &quoted(LOGS));
        assert_eq!(text, String::from_utf8_lossy(&there.body));
        let names = |answer: &Answer| answer.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&refused), names(&there));
    }
    // Before anything else of the request is looked at, its body included.
    let head = format!(
        "POST {FUNCTIONS}/{LOGS} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nauthorization: {WEB}\r\n\
         content-type: text/plain\r\nx-framex-timeout-ms: x\r\ncontent-length: 1000000\r\n\r\n"
    );
    check_denied(&host.raw(head), "caller `web` may not call function `misbehave.functions.logs`");
    // A missing function that it may call is answered with the names that it may see.
    for near in ["demo.some.exampel_func", "demo.functions.logs"] {
        let (status, _, detail) = call(&host, near, Some(WEB), &json!({})).problem();
        assert_eq!(status, 404, "{detail}");
        assert!(!detail.contains("misbehave"), "{detail}");
    }
    let (_, _, detail) = call(&host, "misbehave.functions.logz", Some(OPS), &json!({})).problem();
    assert!(detail.contains(LOGS), "{detail}");
    host.stop();
}

#[test]
fn a_peer_that_lacks_a_function_does_not_tell_a_caller_what_it_has() {
    let b = Daemon::builder().config("host_id = \"b\"").plugin("misbehave").start();
    let url = b.url();
    let a = Daemon::builder()
        .config(&format!("plugins.proxy.proxy_urls = [{url:?}]"))
        .config(&format!(
            "plugins.proxy.proxy_functions = {{ {url:?} = [\"misbehave.functions.logz\"] }}"
        ))
        .config("auth.callers.limited = { keys = [\"limited-key-of-16\"], functions = [\"misbehave.functions.logz\"] }")
        .start();
    let answer = call(&a, "misbehave.functions.logz", Some("limited-key-of-16"), &json!({}));
    let expected = "the host that function `misbehave.functions.logz` runs on does not have it";
    assert_eq!(answer.problem(), (404, "not_found".to_owned(), expected.to_owned()));
    b.stop();
    a.stop();
}

#[test]
fn lists_show_a_caller_its_functions() {
    let host = with_callers().start();
    assert_eq!(catalogue(&host, WEB), [DEMO]);
    let all = catalogue(&host, OPS);
    assert!(all.len() > 10 && all.contains(&LOGS.to_owned()), "{all:?}");
    let openapi = |key: &str| ask(&host, "GET", OPENAPI, Some(key), &json!({})).json();
    let document = openapi(WEB);
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, [&format!("{FUNCTIONS}/{DEMO}")]);
    assert_eq!(document["security"], json!([{"key": []}]));
    assert!(!document.to_string().contains("misbehave"), "{document}");
    assert_eq!(openapi(OPS)["paths"].as_object().unwrap().len(), all.len());
    for path in [FUNCTIONS, OPENAPI] {
        for key in [None, Some("wrong")] {
            check_unauthenticated(&ask(&host, "GET", path, key, &json!({})));
        }
    }
    // What is not of functions is as open as before.
    for path in ["/health", "/ready"] {
        assert_eq!(ask(&host, "GET", path, None, &json!({})).status, 200);
    }
    assert_eq!(ask(&host, "GET", "/api/v1/functionsx", None, &json!({})).status, 404);
    host.stop();
}

#[test]
fn a_caller_is_not_told_where_hosts_reach_each_other() {
    let b = Daemon::builder().plugin("demo").start();
    let url = b.url();
    let rules = "[auth]\nrules = { \"/api/*\" = [\"rule-key-of-16-bytes\"] }\n";
    let a = Daemon::builder()
        .config(&format!(
            "[plugins.proxy]\nproxy_urls = [{url:?}]\nproxy_functions = {{ {url:?} = [{DEMO:?}] }}\n"
        ))
        .config(&format!("{rules}callers.web = {{ keys = [{WEB:?}], functions = [\"*\"] }}\n"))
        .start();
    let runs = |key: &str| {
        let answer = ask(&a, "GET", FUNCTIONS, Some(key), &json!({})).json();
        answer["functions"][0]["runs"].clone()
    };
    assert_eq!(runs(WEB), "peer");
    assert_eq!(runs("rule-key-of-16-bytes"), url.as_str(), "who has the key of the path sees all of it");
    for path in [FUNCTIONS, OPENAPI] {
        let shown = String::from_utf8(ask(&a, "GET", path, Some(WEB), &json!({})).body).unwrap();
        assert!(!shown.contains(b.address()), "{shown}");
    }
    assert_eq!(call(&a, DEMO, Some(WEB), &ada()).status, 200);
    a.stop();
    b.stop();
}

#[test]
fn rules_and_callers_go_together() {
    let rules = "rules = { \"/api/*\" = [\"rule-key\"], \"/health\" = [\"health-key\"] }\n";
    let toml = callers().replace("auth.", "");
    let host = host().config(&format!("[auth]\n{rules}{toml}")).start();
    // A caller's key is enough for functions and their lists, and opens nothing else.
    assert_eq!(call(&host, DEMO, Some(WEB), &ada()).status, 200);
    assert_eq!(catalogue(&host, WEB), [DEMO]);
    for (path, key, status) in [
        ("/health", Some(WEB), 401),
        ("/health", Some("rule-key"), 401),
        ("/health", Some("health-key"), 200),
        ("/ready", None, 200),
        ("/api/nowhere", Some(OPS), 401),
        ("/api/nowhere", Some("rule-key"), 404),
        (OPENAPI, Some("health-key"), 401),
    ] {
        assert_eq!(ask(&host, "GET", path, key, &json!({})).status, status, "{path} {key:?}");
    }
    // A key of a rule opens its paths, but does not name a caller.
    assert_eq!(catalogue(&host, "rule-key"), catalogue(&host, OPS));
    assert_eq!(ask(&host, "GET", OPENAPI, Some("rule-key"), &json!({})).status, 200);
    for function in [DEMO, LOGS, "there.is.none"] {
        let sentence = format!(
            "the key of this request belongs to no caller, so it may not call function `{function}`: auth.callers in \
             the host's config lists the callers"
        );
        check_denied(&call(&host, function, Some("rule-key"), &json!({})), &sentence);
    }
    host.stop();
}

#[test]
fn callers_alone_leave_the_rules_of_the_proxy_in_force() {
    let rules = "[plugins.proxy.auth]\nrules = { \"/api/v1/openapi.json\" = [\"openapi-key\"], \"/ready\" = [\"k\"] }";
    let host = with_callers().config(rules).start();
    check_unauthenticated(&ask(&host, "GET", "/ready", None, &json!({})));
    check_unauthenticated(&ask(&host, "GET", OPENAPI, None, &json!({})));
    for key in ["openapi-key", WEB] {
        assert_eq!(ask(&host, "GET", OPENAPI, Some(key), &json!({})).status, 200, "{key}");
    }
    host.stop();
}

#[test]
fn a_key_of_a_rule_that_is_a_callers_is_that_caller() {
    let toml = callers().replace("auth.", "");
    let host = host()
        .config(&format!("[auth]\nrules = {{ \"/api/*\" = [{WEB:?}], \"/health\" = [{WEB:?}] }}\n{toml}"))
        .start();
    assert_eq!(call(&host, DEMO, Some(WEB), &ada()).status, 200);
    assert_eq!(call(&host, LOGS, Some(WEB), &json!({})).status, 403);
    assert_eq!(catalogue(&host, WEB), [DEMO]);
    assert_eq!(ask(&host, "GET", "/health", Some(WEB), &json!({})).status, 200);
    host.stop();
}

#[test]
fn a_nested_call_is_made_by_the_plugin() {
    let host = Daemon::builder()
        .build(Build::new(1))
        .plugin("misbehave")
        .config("auth.callers.web = { keys = [\"web-key-of-16-bytes\"], functions = [\"misbehave.functions.asks_build\"] }")
        .start();
    assert_eq!(call(&host, "misbehave.functions.asks_build", Some(WEB), &json!({})).status, 200);
    assert_eq!(call(&host, "changing.functions.build", Some(WEB), &json!({})).status, 403);
    host.stop();
}

#[test]
fn the_command_line_calls_and_shows_without_keys() {
    let host = with_callers();
    let folder = host.folder().to_owned();
    let exit = host.run(&["check", "--output", "json"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let shown: Value = serde_json::from_str(&exit.stdout).unwrap();
    let expected = json!({
        "ops": {"keys": ["[redacted]"], "certificates": [], "functions": ["*"]},
        "web": {"keys": ["[redacted]"], "certificates": [], "functions": ["demo.*"]},
    });
    assert_eq!(shown["config"]["auth"], json!({ "callers": expected }), "{}", folder.display());
    assert!(![&exit.stdout, &exit.stderr].iter().any(|text| text.contains(WEB) || text.contains(OPS)));
    let host = host.start();
    let arguments = ada().to_string();
    let exit = host.run(&["call", DEMO, "--json", &arguments, "--key", WEB]);
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "7: Ada\n"), "{}", exit.stderr);
    let exit = host.run(&["call", LOGS, "--key", WEB]);
    let expected = "error: permission_denied, HTTP status 403: caller `web` may not call function \
                    `misbehave.functions.logs` (request id ";
    assert!(exit.code == Some(1) && exit.stderr.starts_with(expected), "{}", exit.stderr);
    host.stop();
}
