//! Odd spellings of the path of a function that the caller may not call: none of them runs it.

use framex_tests::{Answer, Daemon};

use super::{DEMO, LOGS, OPS, WEB, with_callers};

/// The line that the function logs when it runs.
const CANARY: &str = "canary-of-a-forbidden-call";

fn post(host: &Daemon, target: &[u8], authorization: &str) -> Answer {
    let body = format!("{{\"text\": {CANARY:?}}}");
    let head = format!(
        " HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{authorization}content-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    host.raw([b"POST ", target, head.as_bytes()].concat())
}

/// The path itself, as a request may say it.
fn same(host: &Daemon, own: &str) -> Vec<String> {
    vec![
        own.to_owned(),
        format!("{own}?"),
        format!("{own}?function={DEMO}"),
        format!("{own}#"),
        format!("{own}#{DEMO}"),
        format!("http://{}{own}", host.address()),
        format!("http://test{own}"),
        format!("HTTP://TEST{own}"),
        format!("http://user:{OPS}@test{own}"),
        format!("https://test{own}"),
    ]
}

/// Paths that another parser could take for the function, or for that of an allowed function.
fn odd(own: &str) -> Vec<Vec<u8>> {
    let mut targets: Vec<Vec<u8>> = [
        own.replace('.', "%2e"),
        own.replace('.', "%2E"),
        own.replace("logs", "%6cogs"),
        own.replace("logs", "%256cogs"),
        own.replace("/misbehave", "%2fmisbehave"),
        own.replace("/misbehave", "//misbehave"),
        own.replace("/misbehave", "/./misbehave"),
        own.replace("/misbehave", "/demo/../misbehave"),
        own.replace("/misbehave", "/demo.x/../misbehave"),
        own.replace("/misbehave", "/demo.x/%2e%2e/misbehave"),
        own.replace("/misbehave", "/demo.x%2f..%2fmisbehave"),
        own.replace("/misbehave", "/demo.x\\..\\misbehave"),
        own.replace("/misbehave", "\\misbehave"),
        own.replace("/misbehave", "/demo.some.example_func/misbehave"),
        own.replace("/misbehave", "/demo.some.example_func?/misbehave"),
        own.replace("/misbehave", "/demo.some.example_func;/misbehave"),
        own.replace("/misbehave", "/demo.some.example_func%00misbehave"),
        own.replace("/misbehave", "/demo.some.example_func,misbehave"),
        own.replace("/functions", "/FUNCTIONS"),
        own.replace("/api", "//api"),
        own.replace("/api", "/%61pi"),
        own.replace("/api", "/./api"),
        own.replace("/v1", "/v1/../v1"),
        own.replace("/v1", "//v1"),
        own.replace("/functions", "/openapi.json/../functions"),
        own.replace("/functions", "/proxy/remote/../../functions"),
        own.replace("misbehave", "Misbehave"),
        own.replace("logs", "LOGS"),
        own.replace("functions.logs", "functions..logs"),
        own.replace("functions.logs", "functions.\u{2024}logs"),
        own.replace("misbehave", "m\u{456}sbehave"),
        own.replace("misbehave", "m%d1%96sbehave"),
        own.replace("logs", "\u{ff4c}ogs"),
        own.to_uppercase(),
        format!("{own}."),
        format!("{own}%2e"),
        format!("{own}/"),
        format!("{own}//"),
        format!("{own}/."),
        format!("{own}/.."),
        format!("{own}/%2e"),
        format!("{own};x"),
        format!("{own};x=demo.some.example_func"),
        format!("{own}%00"),
        format!("{own}%20"),
        format!("{own}+"),
        format!("{own}*"),
        format!("{own}%0a"),
        format!("{own}.json"),
        format!("{own}\\"),
        format!(" {own}"),
        format!("http://test/{own}"),
        format!("http:{own}"),
        format!("//test{own}"),
        own[1..].to_owned(),
        format!("*{own}"),
        "*".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    targets.push([own.as_bytes(), b"\0"].concat());
    targets.push([b"/api/v1/functions/demo.x\0", LOGS.as_bytes()].concat());
    targets.push([b"/api/v1/functions/\xff", LOGS.as_bytes()].concat());
    targets.push(own.bytes().flat_map(|byte| [byte, 0]).collect());
    targets
}

#[test]
fn no_spelling_of_a_path_runs_what_the_caller_may_not_call() {
    let host = with_callers().start();
    let (web, ops) = [WEB, OPS].map(|key| format!("authorization: Bearer {key}\r\n")).into();
    let own = format!("/api/v1/functions/{LOGS}");
    for target in same(&host, &own) {
        assert_eq!(post(&host, target.as_bytes(), &web).status, 403, "{target}");
        assert_eq!(post(&host, target.as_bytes(), "").status, 401, "{target}");
    }
    for target in odd(&own) {
        for authorization in [&web, &ops, ""] {
            let answer = post(&host, &target, authorization);
            let shown = String::from_utf8_lossy(&target);
            let refused = matches!(answer.status, 400 | 401 | 403 | 404 | 405);
            assert!(refused, "{shown} is answered with {}", answer.status);
        }
    }
    assert!(!host.log().contains(CANARY), "{}", host.log());
    for target in same(&host, &own) {
        assert_eq!(post(&host, target.as_bytes(), &ops).status, 200, "{target}");
    }
    host.wait_for_log(CANARY);
    host.stop();
}

#[test]
fn the_first_key_of_a_request_counts() {
    let host = with_callers().start();
    let target = format!("/api/v1/functions/{LOGS}");
    for headers in [
        format!("authorization: {WEB}\r\nauthorization: {OPS}\r\n"),
        format!("authorization: Bearer {WEB}\r\nAuthorization: Bearer {OPS}\r\n"),
        format!("authorization: {WEB}, {OPS}\r\n"),
        format!("authorization: {WEB}\r\nproxy-authorization: {OPS}\r\nx-authorization: {OPS}\r\n"),
        format!("authorization: Basic {OPS}\r\n"),
        format!("authorization: {OPS}\0\r\n"),
        format!("authorization: {OPS}\u{e4}\r\n"),
    ] {
        let answer = post(&host, target.as_bytes(), &headers);
        assert!(matches!(answer.status, 400 | 401 | 403), "{headers} is answered with {}", answer.status);
    }
    assert!(!host.log().contains(CANARY));
    host.stop();
}
