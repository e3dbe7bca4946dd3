//! Results have a length: `server.answer_bytes_max`, on every way out.

use framex_host::base::ErrorCode;
use framex_tests::{Answer, Daemon, DaemonBuilder, frames, is_instrumented};
use serde_json::json;

const MOST: usize = 65_536;

fn name(function: &str) -> String {
    format!("misbehave.large.{function}")
}

fn host(config: &str) -> DaemonBuilder {
    Daemon::builder().plugin("misbehave").config("host_id = \"b\"").config(config)
}

#[track_caller]
fn check_too_long(answer: &Answer) {
    let problem = answer.json();
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str(), &problem["executed"]), (422, "failed", &json!(true)), "{detail}");
    assert!(
        detail.contains(&format!("more than {MOST} bytes")) && detail.contains("answer_bytes_max"),
        "{detail}"
    );
    assert_eq!(answer.header("x-framex-served-by"), Some("b"), "it ran");
}

fn packed(host: &Daemon, function: &str, count: usize) -> Answer {
    let url = format!("{}/api/v1/functions/{}", host.url(), name(function));
    let body = rmp_serde::to_vec_named(&json!({ "count": count })).unwrap();
    framex_tests::send("POST", &url, &[("content-type", "application/msgpack")], &body)
}

#[test]
fn a_result_is_as_long_as_configured_on_every_way_out() {
    let host =
        host(&format!("server.answer_bytes_max = {MOST}")).config(&frames::rules(&[frames::SECRET])).start();
    let call = |function: &str, count: usize| host.call(&name(function), &json!({ "count": count }));
    // MessagePack: as long as it may be with the three bytes of its own length, and one more.
    for function in ["gives_bytes", "gives_bytes_later"] {
        assert_eq!(packed(&host, function, MOST - 3).body.len(), MOST);
        check_too_long(&packed(&host, function, MOST - 2));
        check_too_long(&call(function, MOST - 2));
    }
    // JSON is longer: base64 and two quotes.
    assert_eq!(call("gives_bytes", (MOST - 2) / 4 * 3).status, 200);
    check_too_long(&call("gives_bytes", (MOST - 2) / 4 * 3 + 3));
    check_too_long(&call("gives_nulls", MOST / 5 + 1));
    assert_eq!(packed(&host, "gives_nulls", MOST / 5 + 1).status, 200);
    // Sealed, and within another call.
    let sealed = |count: usize| {
        let envelope = frames::envelope(&name("gives_bytes"), &json!({ "count": count }));
        frames::call_sealed(&host.url(), &frames::key(), &envelope).outcome
    };
    assert_eq!(sealed(MOST - 3).unwrap().len(), MOST);
    let failure = sealed(MOST - 2).unwrap_err();
    assert_eq!((failure.code, failure.executed.known()), (ErrorCode::Failed, Some(true)));
    assert!(failure.message.contains("answer_bytes_max"), "{failure}");
    // What a function says in an error counts as well.
    let short = call("fails_at_length", MOST / 2).json();
    assert_eq!(short["details"]["AtLength"]["text"].as_str().map(str::len), Some(MOST / 2), "{short}");
    check_too_long(&call("fails_at_length", MOST));
    host.stop();
}

#[test]
fn a_reload_changes_how_long_results_are() {
    let host = host("").start();
    let long = |host: &Daemon| host.call(&name("gives_bytes"), &json!({ "count": 100_000 }));
    assert_eq!(long(&host).status, 200);
    let config = std::fs::read_to_string(host.folder().join("config.toml")).unwrap();
    host.put_config(&format!("{config}\nserver.answer_bytes_max = {MOST}\n"));
    let reloaded = host.reload_host().json();
    assert_eq!(reloaded["restart_required"], json!([]), "{reloaded}");
    check_too_long(&long(&host));
    host.stop();
}

#[test]
fn a_caller_of_another_host_is_told_that_it_ran() {
    let b =
        host(&format!("server.answer_bytes_max = {MOST}")).config(&frames::rules(&[frames::SECRET])).start();
    let function = name("gives_bytes");
    let a = Daemon::builder()
        .plugin("misbehave")
        .config("host_id = \"a\"")
        .config(&frames::rules(&[frames::SECRET]))
        .config(&format!(
            "plugins.proxy.proxy_urls = [{:?}]\nplugins.proxy.proxy_functions = {{ {:?} = [{function:?}] }}",
            b.url(),
            b.url()
        ))
        .start();
    check_too_long(&a.call(&function, &json!({ "count": MOST })));
    // The plugin on `a` asks through its own host, whose own limit is another.
    let nested = a.call(&name("asks_for_bytes"), &json!({ "count": MOST })).json();
    assert_eq!((&nested["code"], &nested["executed"]), (&json!("failed"), &json!(true)), "{nested}");
}

#[test]
fn json_of_many_short_values_takes_little_more_than_its_text() {
    const NULLS: usize = 8_000_000;
    let host = host("").start();
    let call = |count: usize| host.call(&name("gives_nulls"), &json!({ "count": count }));
    assert_eq!(call(1000).status, 200);
    let before = host.resident_bytes();
    let answer = call(NULLS);
    assert_eq!((answer.status, answer.body.len()), (200, NULLS * 5 + 1));
    let grown = host.resident_bytes_max() - before;
    println!("{grown} bytes more were resident");
    // The plugin's list and its MessagePack, which may have grown by doubling, are 16 MB each; the text is 40 MB.
    assert!(is_instrumented() || grown < 112 << 20, "{grown} bytes more were resident");
    host.stop();
}
