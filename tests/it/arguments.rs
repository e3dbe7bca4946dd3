//! Arguments over HTTP: what does not fit is refused in words before anything runs, and both forms carry all values.

use framex_tests::{Answer, Daemon, send};
use serde_json::json;

const DEMO: &str = "demo.some.example_func";
const ECHO: &str = "misbehave.functions.echo";

fn host() -> Daemon {
    Daemon::builder().plugin("demo").plugin("misbehave").start()
}

fn post(host: &Daemon, function: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    send("POST", &format!("{}/api/v1/functions/{function}", host.url()), headers, body)
}

fn post_json(host: &Daemon, function: &str, body: &str) -> Answer {
    post(host, function, &[("content-type", "application/json")], body.as_bytes())
}

fn post_packed(host: &Daemon, function: &str, body: &[u8]) -> Answer {
    post(host, function, &[("content-type", "application/msgpack")], body)
}

/// Refused as an argument that does not fit, before the function ran.
fn check_refused(answer: &Answer, part: &str) {
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (400, "invalid_argument"), "{detail}");
    assert!(detail.contains(part), "{detail:?} lacks {part:?}");
    assert_eq!(answer.json()["executed"], false, "{detail}");
}

#[test]
fn an_unknown_function_is_answered_with_the_nearest_names() {
    let host = host();
    let answer = host.call("demo.some.exampel_func", &json!({}));
    let expected = "there is no function `demo.some.exampel_func`; the nearest are `demo.some.example_func`";
    assert_eq!(answer.problem(), (404, "not_found".to_owned(), expected.to_owned()));
    assert_eq!(answer.json()["executed"], false);
    let far = host.call("zzz", &json!({})).problem();
    assert_eq!(far.2, "there is no function `zzz`; GET /api/v1/functions lists what there is");
    for name in ["demo..some", ".", "demo.", "demo some".replace(' ', "!").as_str(), &"a".repeat(256)] {
        let (status, code, _) = host.call(name, &json!({})).problem();
        assert_eq!((status, code.as_str()), (404, "not_found"), "{name}");
    }
    host.stop();
}

#[test]
fn arguments_that_do_not_fit_are_named() {
    let host = host();
    let check = |body: &str, part: &str| check_refused(&post_json(&host, DEMO, body), part);
    check("", "missing field `id`");
    check("{}", "missing field `id`");
    check(r#"{"id": 7}"#, "missing field `user`");
    check(r#"{"id": 7, "user": {"id": 7}}"#, "argument `user`: missing field `name`");
    check(r#"{"id": "7", "user": {"id": 7, "name": "Ada"}}"#, "argument `id`: a string has the wrong type");
    check(r#"{"id": -1, "user": {"id": 7, "name": "Ada"}}"#, "argument `id`");
    check(r#"{"id": 1.5, "user": {"id": 7, "name": "Ada"}}"#, "argument `id`");
    check(r#"{"id": 18446744073709551616, "user": {"id": 7, "name": "Ada"}}"#, "argument `id`");
    check(r#"{"id": null, "user": {"id": 7, "name": "Ada"}}"#, "argument `id`");
    check(r#"{"id": 7, "user": {"id": 7, "name": ["Ada"]}}"#, "argument `user.name`");
    check(r#"{"id": 7, "user": {"id": 7, "name": "Ada"}, "more": 1}"#, "unknown field `more`");
    check(r#"{"id": 7, "id": 8, "user": {"id": 7, "name": "Ada"}}"#, "has the key \"id\" more than once");
    let fits = post_json(&host, DEMO, r#"{"id": 18446744073709551615, "user": {"id": 7, "name": "Ada"}}"#);
    assert_eq!(fits.json(), json!("18446744073709551615: Ada"));
    host.stop();
}

#[test]
fn bodies_that_are_no_arguments_are_refused() {
    let host = host();
    let check = |body: &str, part: &str| check_refused(&post_json(&host, DEMO, body), part);
    for body in ["[]", "7", "null", "\"text\"", "NaN", "[{\"id\": 7}]"] {
        check(body, "the body must be a JSON object of named arguments");
    }
    check("{", "the body is not the JSON that is expected: EOF");
    check("{\"id\": 7,}", "the body is not the JSON that is expected: trailing comma");
    check("{\"id\": 7} {}", "the body is not the JSON that is expected: trailing characters");
    check("{\"id\": NaN}", "the body is not the JSON that is expected: expected value");
    check("{\"id\": 1e999}", "the body is not the JSON that is expected: number out of range");
    let deep = format!("{{\"id\": {}7{}}}", "[".repeat(100_000), "]".repeat(100_000));
    check(&deep, "nested more than 64 levels deep");
    let many: Vec<String> = (0..257).map(|number| format!("\"a{number}\": 1")).collect();
    check(&format!("{{{}}}", many.join(",")), "256");
    let text = post(&host, DEMO, &[("content-type", "application/json")], b"{\"id\": \"\xff\"}");
    check_refused(&text, "the body is not the JSON that is expected: invalid unicode code point");
    host.stop();
}

#[test]
fn message_pack_that_claims_too_much_is_refused() {
    let host = host();
    let check = |body: &[u8], part: &str| check_refused(&post_packed(&host, ECHO, body), part);
    check(b"", "arguments reaches beyond the end of the message");
    check(b"\xdf\xff\xff\xff\xff", "arguments");
    check(b"\xdf\xff\xff\xff\xff\xa4data\xc4\x01a", "arguments");
    check(b"\xdf\x00\x00\x00\x09\xa4data\xc4\x01a", "beyond the end of the message");
    check(b"\x81\xa4data\xc6\xff\xff\xff\xffa", "argument value reaches beyond the end of the message");
    check(b"\x81\xa4data\xc4\x01a\xc0", "arguments is followed by bytes that belong to nothing");
    check(b"\x82\xa4data\xc4\x01a\xa4data\xc4\x01b", "arguments has the key \"data\" more than once");
    check(b"\x90", "arguments is not a map");
    check(b"\xd4\x01\x02", "arguments is not a map");
    check(b"\x81\x01\xc4\x01a", "argument name is not a string");
    check(b"\x81\xa4data\xd4\x01\x02", "argument `data`");
    check(b"\x81\xa4data\xc7\x00\x01", "argument `data`");
    check(b"\x81\xa4data\xc1", "argument value is not MessagePack, which has no byte 0xc1");
    let deep = [&b"\x81\xa4data"[..], &[0x91; 100_000], b"\xc0"].concat();
    check(&deep, "nested");
    host.stop();
}

#[test]
fn bytes_are_bin_in_message_pack_and_base64_in_json() {
    let host = host();
    assert_eq!(host.call(ECHO, &json!({"data": "AQID"})).json(), json!("AQID"));
    let packed = post_packed(&host, ECHO, b"\x81\xa4data\xc4\x03\x01\x02\x03");
    assert_eq!(packed.header("content-type"), Some("application/msgpack"));
    assert_eq!((packed.status, packed.body.as_slice()), (200, &b"\xc4\x03\x01\x02\x03"[..]));
    let headers = [("content-type", "application/msgpack"), ("accept", "application/json")];
    let json = post(&host, ECHO, &headers, b"\x81\xa4data\xc4\x03\x01\x02\x03");
    assert_eq!((json.header("content-type"), json.json()), (Some("application/json"), json!("AQID")));
    let headers = [("content-type", "application/json; charset=utf-8"), ("accept", "application/msgpack")];
    let packed = post(&host, ECHO, &headers, br#"{"data": "AQID"}"#);
    assert_eq!(packed.body, b"\xc4\x03\x01\x02\x03");
    check_refused(&host.call(ECHO, &json!({"data": "not base64!"})), "base64");
    let large = vec![7; 1 << 20];
    let body = [&b"\x81\xa4data\xc6"[..], &(large.len() as u32).to_be_bytes(), &large].concat();
    assert_eq!(post_packed(&host, ECHO, &body).body[5..], large, "a megabyte comes back as it was");
    host.stop();
}

#[test]
fn numbers_that_json_lacks_pass_in_message_pack() {
    let host = host();
    let function = "misbehave.functions.same_number";
    let body = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("value", f64::NAN)])).unwrap();
    let back: f64 = rmp_serde::from_slice(&post_packed(&host, function, &body).body).unwrap();
    assert!(back.is_nan());
    let headers = [("content-type", "application/msgpack"), ("accept", "application/json")];
    let refused = post(&host, function, &headers, &body);
    assert_eq!((refused.problem().0, &refused.json()["executed"]), (422, &json!(true)), "not null");
    assert_eq!(host.call(function, &json!({"value": 0.1})).json(), json!(0.1));
    host.stop();
}

#[test]
fn arguments_with_defaults_may_be_left_out() {
    let host = host();
    let check = |arguments: serde_json::Value, expected: serde_json::Value| {
        assert_eq!(host.call("misbehave.functions.with_defaults", &arguments).json(), expected);
    };
    check(json!({}), json!([null, 0, 42]));
    check(json!({"a": null, "c": 1}), json!([null, 0, 1]));
    check(json!({"a": 7, "b": 8, "c": 9}), json!([7, 8, 9]));
    check_refused(&host.call("misbehave.functions.with_defaults", &json!({"b": null})), "argument `b`");
    host.stop();
}

#[test]
fn other_content_types_are_refused() {
    let host = host();
    let types: [&[(&str, &str)]; 4] = [
        &[],
        &[("content-type", "text/plain")],
        &[("content-type", "")],
        &[("content-type", "application/xml")],
    ];
    for headers in types {
        let (status, code, detail) = post(&host, DEMO, headers, b"{}").problem();
        assert_eq!((status, code.as_str()), (415, "invalid_argument"), "{headers:?}");
        assert_eq!(detail, "the body's content-type must be application/json or application/msgpack");
    }
    host.stop();
}

#[test]
fn a_body_that_does_not_arrive_is_not_waited_for_longer_than_the_call() {
    let host = Daemon::builder().plugin("misbehave").start();
    for timeout_ms in ["50", "200"] {
        let answer = host.raw(format!(
            "POST /api/v1/functions/{ECHO} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
             x-framex-timeout-ms: {timeout_ms}\r\ncontent-length: 100\r\n\r\n{{\"data\":"
        ));
        let detail = "the time ran out while the arguments of the call arrived";
        assert_eq!(answer.problem(), (504, "deadline_exceeded".to_owned(), detail.to_owned()));
        assert_eq!(answer.json()["executed"], false);
    }
    assert_eq!(host.metric("framex_limits_reached_total{limit=\"body_time\"}"), 0.0, "it had more time");
    host.stop();
}

#[test]
fn arguments_that_are_too_large_as_message_pack_are_refused_here() {
    let host = Daemon::builder().config("server.body_bytes_max = 4000").plugin("misbehave").start();
    // Four bytes of JSON each, nine of MessagePack.
    let numbers = |count: usize| format!("{{\"numbers\":[{}0.5]}}", "0.5,".repeat(count - 1));
    let refused = post_json(&host, "misbehave.functions.none", &numbers(500));
    let detail = "the arguments have more than 4000 bytes as MessagePack, the form in which functions take them ([server] body_bytes_max)";
    assert_eq!(refused.problem(), (413, "invalid_argument".to_owned(), detail.to_owned()));
    assert_eq!(refused.json()["executed"], false);
    assert_eq!(host.metric("framex_limits_reached_total{limit=\"body_size\"}"), 1.0);
    // With fewer of them, it is looked for.
    assert_eq!(post_json(&host, "misbehave.functions.none", &numbers(400)).status, 404);
    host.stop();
}

#[test]
fn bodies_over_the_limit_are_refused_however_they_come() {
    let host = Daemon::builder().config("server.body_bytes_max = 2000").plugin("misbehave").start();
    let head = format!(
        "POST /api/v1/functions/{ECHO} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n"
    );
    let check = |answer: &Answer| {
        let detail = "the body has more than 2000 bytes ([server] body_bytes_max)";
        assert_eq!(answer.problem(), (413, "invalid_argument".to_owned(), detail.to_owned()));
    };
    // Announced, and refused before any of it is sent.
    check(&host.raw(format!("{head}content-length: 2001\r\n\r\n")));
    check(&host.raw(format!("{head}content-length: 18446744073709551613\r\n\r\n")));
    let chunk = "a".repeat(1500);
    check(&host.raw(format!(
        "{head}transfer-encoding: chunked\r\n\r\n5dc\r\n{chunk}\r\n5dc\r\n{chunk}\r\n0\r\n\r\n"
    )));
    let fits = format!("{{\"data\": \"{}\"}}", "AAAA".repeat(490));
    assert_eq!(post_json(&host, ECHO, &fits).status, 200);
    let chunked =
        host.raw(format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{fits}\r\n0\r\n\r\n", fits.len()));
    assert_eq!(chunked.status, 200);
    host.stop();
}
