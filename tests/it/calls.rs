//! A typed call, here and on another host.

use framex_tests::Daemon;
use serde_json::json;

const DEMO: &str = "demo.some.example_func";

fn ada() -> serde_json::Value {
    json!({"id": 7, "user": {"id": 7, "name": "Ada"}})
}

#[test]
fn the_documents_function_runs_here() {
    let host = Daemon::builder().config("host_id = \"only\"").plugin("demo").start();
    let answer = host.call(DEMO, &ada());
    assert_eq!((answer.status, answer.json()), (200, json!("7: Ada")));
    assert_eq!(answer.header("x-framex-served-by"), Some("only"));
    host.stop();
}

#[test]
fn the_documents_function_runs_on_the_other_host() {
    let key = r#"plugins.proxy.auth.rules = { "/api/v1/proxy/remote" = ["proxy-key"] }"#;
    let b = Daemon::builder().config("host_id = \"b\"").config(key).plugin("demo").start();
    let a = Daemon::builder()
        .config("host_id = \"a\"")
        .config(key)
        .config(&format!("plugins.proxy.proxy_urls = [\"{}\"]", b.url()))
        .config(&format!("plugins.proxy.proxy_functions = {{ \"{}\" = [\"{DEMO}\"] }}", b.url()))
        .plugin("demo")
        .start();
    let answer = a.call(DEMO, &ada());
    assert_eq!((answer.status, answer.json()), (200, json!("7: Ada")));
    assert_eq!(answer.header("x-framex-served-by"), Some("b"));
    a.stop();
    b.stop();
}
