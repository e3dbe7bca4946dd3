//! The door: which keys open which paths, and that a closed path says nothing of what is behind it.

mod doors;
mod names;

use framex_tests::{Answer, Daemon, DaemonBuilder, send};

const FUNCTIONS: &str = "/api/v1/functions";
const CALL: &str = "/api/v1/functions/demo.some.example_func";
const BODY: &[u8] = br#"{"id": 7, "user": {"id": 7, "name": "Ada"}}"#;

fn host(builder: DaemonBuilder) -> Daemon {
    builder.plugin("demo").start()
}

fn ask(host: &Daemon, method: &str, path: &str, authorization: Option<&str>) -> Answer {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(authorization.map(|value| ("authorization", value)));
    let body = if method == "POST" { BODY } else { b"" };
    send(method, &format!("{}{path}", host.url()), &headers, body)
}

fn check_status(host: &Daemon, path: &str, authorization: Option<&str>, expected: u16) {
    let method = if path == CALL { "POST" } else { "GET" };
    let answer = ask(host, method, path, authorization);
    assert_eq!(answer.status, expected, "{path} with {authorization:?}");
    if expected == 401 {
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let detail = match authorization {
            None => "no key was sent: this path needs one, as in `Authorization: Bearer KEY`",
            Some(_) => "the key that was sent does not open this path",
        };
        let expected = (401, "unauthenticated".to_owned(), detail.to_owned());
        assert_eq!(answer.problem(), expected);
    }
}

#[test]
fn without_rules_every_path_is_open() {
    let host = host(Daemon::builder());
    for path in [FUNCTIONS, CALL, "/api/v1/openapi.json", "/health", "/ready"] {
        check_status(&host, path, None, 200);
        check_status(&host, path, Some("any"), 200);
    }
    host.stop();
}

#[test]
fn the_rules_of_the_proxy_protect_what_they_name_where_there_is_no_auth() {
    let host = host(Daemon::builder().config(include_str!("../../config/document.toml")));
    let path = "/api/v1/openapi.json";
    check_status(&host, path, None, 401);
    check_status(&host, path, Some("proxy-key"), 401);
    check_status(&host, path, Some("openapi-key"), 200);
    check_status(&host, path, Some("Bearer openapi-key"), 200);
    check_status(&host, FUNCTIONS, None, 200);
    check_status(&host, "/health", None, 200);
    host.stop();
}

#[test]
fn auth_takes_the_place_of_the_rules_of_the_proxy() {
    let rules = r#"plugins.proxy.auth.rules = { "/api/v1/openapi.json" = ["openapi-key"] }"#;
    let auth = r#"auth.rules = { "/api/v1/functions/*" = ["first-key", "second-key", "env:CALLER_KEY"] }"#;
    let host = host(Daemon::builder().config(rules).config(auth).variable("CALLER_KEY", "third-key"));
    check_status(&host, "/api/v1/openapi.json", None, 200);
    check_status(&host, CALL, None, 401);
    check_status(&host, CALL, Some("openapi-key"), 401);
    for key in ["first-key", "second-key", "third-key"] {
        check_status(&host, CALL, Some(key), 200);
        check_status(&host, CALL, Some(&format!("Bearer {key}")), 200);
        check_status(&host, CALL, Some(&format!("bearer   {key}")), 200);
    }
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "first-ke",
        "first-keyx",
        "First-key",
        "first-key,second-key",
        "Basic first-key",
        "Bearer Bearer first-key",
        "Bearerfirst-key",
        "env:CALLER_KEY",
    ] {
        check_status(&host, CALL, Some(wrong), 401);
    }
    host.stop();
}

#[test]
fn rules_end_on_a_segment_boundary_and_the_nearest_one_decides() {
    let auth = r#"auth.rules = { "/api/*" = ["wide"], "/api/v1/functions/*" = ["deep"], "/api/v1/functions" = ["exact"] }"#;
    let host = host(Daemon::builder().config(auth));
    let keys = ["wide", "deep", "exact"];
    let check = |path: &str, opens: &str| {
        for key in keys {
            check_status(&host, path, Some(key), if key == opens { 200 } else { 401 });
        }
    };
    check(CALL, "deep");
    check(FUNCTIONS, "exact");
    check("/api/v1/openapi.json", "wide");
    // Not below `/api/`.
    for path in ["/api", "/apix", "/api-docs"] {
        check_status(&host, path, None, 404);
    }
    check_status(&host, "/health", None, 200);
    host.stop();
}

#[test]
fn a_closed_path_says_nothing_of_what_is_behind_it() {
    let host = host(Daemon::builder().config(r#"auth.rules = { "/api/*" = ["key"] }"#));
    // The sentence depends on whether a key was sent, and `executed` on whether the path is one of a call.
    let [call, other] = [("POST", CALL), ("GET", FUNCTIONS)]
        .map(|(method, path)| [None, Some("wrong")].map(|key| ask(&host, method, path, key)));
    for (call, other) in call.iter().zip(&other) {
        assert_eq!((call.status, other.status), (401, 401));
        assert_eq!(
            (&call.json()["executed"], other.json().get("executed")),
            (&serde_json::json!(false), None)
        );
    }
    for (method, path, refused) in [
        ("POST", "/api/v1/functions/there.is.none", &call),
        ("POST", "/api/v1/functions/not!a!name", &call),
        ("GET", CALL, &call),
        ("DELETE", FUNCTIONS, &other),
        ("GET", "/api/v1/openapi.json", &other),
        ("GET", "/api/nowhere", &other),
    ] {
        for authorization in [None, Some("wrong"), Some("Bearer wrong"), Some("Basic a2V5")] {
            let answer = ask(&host, method, path, authorization);
            let refused = &refused[usize::from(authorization.is_some())];
            assert_eq!(
                (answer.status, &answer.body),
                (401, &refused.body),
                "{method} {path} {authorization:?}"
            );
        }
    }
    // However the path is written, it is not opened.
    for path in ["//api/v1/functions", "/api/v1//functions", "/api/./v1/functions", "/%61pi/v1/functions"] {
        let answer = host.raw(format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"));
        assert!(matches!(answer.status, 401 | 404), "{path} is answered with {}", answer.status);
    }
    host.stop();
}

#[test]
fn sealed_calls_have_a_door_of_their_own() {
    let host = host(Daemon::builder().config(r#"auth.rules = { "/*" = ["key"] }"#));
    let url = format!("{}/api/v1/proxy/remote", host.url());
    let frame = [("content-type", "application/vnd.framex.sealed"), ("authorization", "key")];
    for body in [&b""[..], b"text", &[0; 64], &[0; 200]] {
        let answer = send("POST", &url, &frame, body);
        assert!(matches!(answer.status, 400 | 401), "{} bytes: {}", body.len(), answer.status);
    }
    let answer = send("POST", &url, &[("content-type", "application/json"), ("authorization", "key")], b"{}");
    assert_eq!(answer.problem().0, 415);
    host.stop();
}
