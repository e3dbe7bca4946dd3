//! Headers that clients and gateways write in more than one way.

use framex_tests::{Answer, Daemon, FaultyPeer, frames, http_answer, send};
use serde_json::json;

const ECHO: &str = "misbehave.functions.echo";
const JSON: &str = "application/json";
const PACKED: &str = "application/msgpack";

fn host() -> Daemon {
    Daemon::builder().plugin("misbehave").config(&frames::rules(&[frames::SECRET])).start()
}

/// A call with the headers, which are sent as they are.
fn call(host: &Daemon, headers: &[(&str, &str)]) -> Answer {
    let body = br#"{"data":"eA=="}"#;
    let mut request = format!(
        "POST /api/v1/functions/{ECHO} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    host.raw([request.as_bytes(), b"\r\n", body].concat())
}

fn form(host: &Daemon, accept: &[&str]) -> String {
    let lines = accept.iter().map(|line| ("accept", *line));
    let headers: Vec<_> = [("content-type", JSON)].into_iter().chain(lines).collect();
    let answer = call(host, &headers);
    assert_eq!(answer.status, 200, "{accept:?}");
    answer.header("content-type").unwrap().to_owned()
}

#[test]
fn the_result_comes_in_the_form_that_the_client_likes_best() {
    let host = host();
    for (accept, expected) in [
        (&[][..], JSON),
        (&["*/*"], JSON),
        (&["application/msgpack"], PACKED),
        (&["Application/X-MsgPack ; q=0.1"], PACKED),
        (&["application/json;q=0, application/msgpack"], PACKED),
        (&["application/json;q=0", "*/*"], PACKED),
        (&["application/msgpack;q=0", "*/*"], JSON),
        (&["application/msgpack;q=0.4, application/json;q=0.5"], JSON),
        (&["text/html", "application/msgpack", "application/json;q=0.9"], PACKED),
        (&["application/json", "application/msgpack"], JSON),
        // None of what there is: the header is disregarded.
        (&["text/html"], JSON),
        (&["application/problem+json, application/vnd.msgpack"], PACKED),
    ] {
        assert_eq!(form(&host, accept), expected, "{accept:?}");
    }
}

#[test]
fn a_header_with_one_value_may_not_come_with_two() {
    let host = host();
    for (name, one, other) in [
        ("idempotency-key", "order-1", "order-2"),
        ("authorization", "Bearer a", "Bearer b"),
        ("x-framex-timeout-ms", "1000", "2000"),
        ("content-type", JSON, PACKED),
    ] {
        let with = |values: &[&str]| {
            let mut headers: Vec<_> = values.iter().map(|value| (name, *value)).collect();
            if name != "content-type" {
                headers.push(("content-type", JSON));
            }
            call(&host, &headers)
        };
        let (status, code, detail) = with(&[one, other]).problem();
        assert_eq!((status, code.as_str()), (400, "invalid_argument"), "{name}");
        assert_eq!(
            detail,
            format!("the request has the header `{name}` several times, with different values: send one")
        );
        assert_eq!(with(&[one, one]).status, 200, "{name}: the same value twice does not contradict");
    }
    // Where there are several, a trace begins anew (W3C Trace Context).
    let [one, other] = ["a", "b"].map(|digit| format!("00-{}-{}-01", digit.repeat(32), digit.repeat(16)));
    let traced = call(&host, &[("content-type", JSON), ("traceparent", &one), ("traceparent", &other)]);
    assert_eq!(traced.status, 200);
}

#[test]
fn a_body_in_a_coding_is_refused_on_both_paths() {
    let host = host();
    for coding in ["gzip", "br", "GZIP", "identity, gzip", "gzip, identity", "x"] {
        for (path, kind) in [
            (format!("/api/v1/functions/{ECHO}"), JSON),
            ("/api/v1/proxy/remote".to_owned(), framex_host::wire::CONTENT_TYPE),
        ] {
            let headers = [("content-type", kind), ("content-encoding", coding)];
            let answer = send("POST", &format!("{}{path}", host.url()), &headers, br#"{"data":"eA=="}"#);
            assert_eq!(
                (answer.status, answer.header("accept-encoding")),
                (415, Some("identity")),
                "{path} {coding}"
            );
            assert_eq!(answer.json()["executed"], false, "{path} {coding}");
        }
    }
    for coding in ["identity", "Identity", "", "identity, identity"] {
        assert_eq!(
            call(&host, &[("content-type", JSON), ("content-encoding", coding)]).status,
            200,
            "{coding}"
        );
    }
    let chunks = "f\r\n{\"data\":\"eA==\"}\r\n0\r\n\r\n";
    for (coding, status) in [("chunked", 200), ("Chunked", 200), ("gzip, chunked", 501)] {
        let request = format!(
            "POST /api/v1/functions/{ECHO} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: {JSON}\r\n\
             transfer-encoding: {coding}\r\n\r\n{chunks}"
        );
        assert_eq!(host.raw(request).status, status, "{coding}");
    }
}

#[test]
fn a_sealed_answer_counts_if_a_gateway_adds_to_its_content_type() {
    for kind in [
        "application/vnd.framex.sealed",
        "application/vnd.framex.sealed; charset=utf-8",
        "application/vnd.framex.sealed;charset=\"a;b\"",
        "Application/Vnd.FrameX.Sealed ; x=y",
    ] {
        let peer = FaultyPeer::answering(move |body| {
            let Some((opened, _)) = frames::open_request(body) else {
                return http_answer("401 Unauthorized", &[], b"");
            };
            let answer = opened.answer(&frames::answer_by(frames::SCRIPTED, Ok(vec![0xc0].into())));
            let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
            http_answer("200 OK", &[("content-type", kind)], &answer[end + 4..])
        });
        let url = peer.url();
        let a = Daemon::builder()
            .config(&format!("plugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.proxy_functions = {{ {url:?} = [\"far.f\"] }}"))
            .config("plugins.proxy.white_list = [\"/api/v1/proxy/remote\"]")
            .config(&frames::rules(&[frames::SECRET]))
            .start();
        let answer = a.call("far.f", &json!({}));
        assert_eq!(answer.status, 200, "{kind}: {}", answer.json());
    }
}
