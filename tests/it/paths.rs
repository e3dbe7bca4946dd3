//! Methods and paths: the host takes each path literally, or does not have it.

use framex_tests::{Answer, Daemon, send};

const FUNCTION: &str = "/api/v1/functions/demo.some.example_func";

fn ask(host: &Daemon, method: &str, target: &str) -> Answer {
    let body = r#"{"id": 7, "user": {"id": 7, "name": "Ada"}}"#;
    host.raw(format!(
        "{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

#[test]
fn methods_that_a_path_does_not_take_are_named() {
    let host = Daemon::builder().plugin("demo").start();
    let check = |method: &str, path: &str, allowed: &str| {
        let answer = send(method, &format!("{}{path}", host.url()), &[], b"");
        let (status, code, detail) = answer.problem();
        assert_eq!((status, code.as_str()), (405, "invalid_argument"), "{method} {path}");
        assert_eq!((answer.header("allow"), detail), (Some(allowed), format!("this path takes {allowed}")));
    };
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PURGE"] {
        check(method, FUNCTION, "POST");
        check(method, "/api/v1/proxy/remote", "POST");
    }
    for path in ["/health", "/ready", "/api/v1/functions", "/api/v1/openapi.json"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            check(method, path, "GET, HEAD");
        }
    }
    host.stop();
}

#[test]
fn head_answers_as_get_without_the_body() {
    let host = Daemon::builder().plugin("demo").start();
    for path in ["/health", "/api/v1/functions", "/api/v1/openapi.json"] {
        let (get, head) = (ask(&host, "GET", path), ask(&host, "HEAD", path));
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert!(!get.body.is_empty());
        for name in ["content-type", "content-length"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
    }
    assert_eq!(ask(&host, "HEAD", FUNCTION).status, 405);
    assert_eq!(ask(&host, "HEAD", "/nowhere").status, 404);
    host.stop();
}

#[test]
fn odd_paths_are_not_found() {
    let host = Daemon::builder().plugin("demo").start();
    assert_eq!(ask(&host, "POST", FUNCTION).status, 200, "the path itself");
    assert_eq!(ask(&host, "POST", &format!("{FUNCTION}?query=ignored")).status, 200);
    for target in [
        "/api/v1/functions/%64emo.some.example_func",
        "/api/v1/functions/demo%2esome%2eexample_func",
        "/api/v1/functions//demo.some.example_func",
        "//api/v1/functions/demo.some.example_func",
        "/api/v1//functions/demo.some.example_func",
        "/api/v1/functions/demo.some.example_func/",
        "/api/v1/functions/./demo.some.example_func",
        "/api/v1/../v1/functions/demo.some.example_func",
        "/api/v1/functions/%2e%2e/functions/demo.some.example_func",
        "/api/v1/functions/..%2fdemo.some.example_func",
        "/api/v1/functions\\demo.some.example_func",
        "/API/v1/functions/demo.some.example_func",
        "/api/v1/functions/Demo.some.example_func",
        "/api/v1/functions/demo.some.example_func;x=1",
        "/api/v1/functions/",
        "/api/v1/proxy/remote/",
        "/api/v1/proxy//remote",
        "/health/",
        "/%68ealth",
        "/",
        "/nowhere",
    ] {
        let (status, code, _) = ask(&host, "POST", target).problem();
        assert_eq!((status, code.as_str()), (404, "not_found"), "{target}");
    }
    host.stop();
}
