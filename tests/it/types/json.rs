//! The same values in JSON.

use framex_tests::{Answer, Daemon, send};
use serde_json::{Value, json};

use super::{echoes, host};

/// By function, what it is given and returns.
pub(super) const VALUES: &str = include_str!("../../clients/values.json");

/// Calls a function with JSON as it is written here.
fn call(host: &Daemon, function: &str, body: &str) -> Answer {
    let url = format!("{}/api/v1/functions/{function}", host.url());
    send("POST", &url, &[("content-type", "application/json")], body.as_bytes())
}

/// The JSON that a function returns for a value, both as they are written.
#[track_caller]
fn check_echo(host: &Daemon, function: &str, value: &str, expected: &str) {
    let answer = call(host, &format!("types.echo.{function}"), &format!("{{\"value\": {value}}}"));
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.status, body.as_str()), (200, expected), "{function}({value})");
}

#[track_caller]
fn check_refused(host: &Daemon, function: &str, value: &str) {
    let answer = call(host, &format!("types.echo.{function}"), &format!("{{\"value\": {value}}}"));
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (400, "invalid_argument"), "{function}({value}): {detail}");
    assert!(detail.starts_with("argument `value"), "{detail}");
}

#[test]
fn values_are_the_same_in_json() {
    let host = host();
    let values: Value = serde_json::from_str(VALUES).unwrap();
    for function in echoes() {
        // Bytes as an argument, and numbers as a result, both as their schemas say.
        if function == "types.echo.maybe_bytes" {
            continue;
        }
        let values = values[function].as_array();
        for value in values.unwrap_or_else(|| panic!("{function} has values in values.json")) {
            let answer = host.call(function, &json!({ "value": value }));
            assert_eq!((answer.status, &answer.json()), (200, value), "{function}");
        }
    }
    host.stop();
}

#[test]
fn integers_are_exact_in_json() {
    let host = host();
    for (function, value, expected) in [
        ("unsigned_128", "7", "\"7\""),
        ("unsigned_128", "18446744073709551615", "\"18446744073709551615\""),
        ("unsigned_128", "\"18446744073709551617\"", "\"18446744073709551617\""),
        ("unsigned_128", "1e3", "\"1000\""),
        ("signed_128", "-1", "\"-1\""),
        ("signed_128", "-0", "\"0\""),
        ("unsigned_64", "18446744073709551615", "18446744073709551615"),
        ("unsigned_64", "18446744073709551615.0", "18446744073709551615"),
        ("unsigned_64", "1.0", "1"),
        ("unsigned_64", "1e3", "1000"),
        ("unsigned_64", "-0", "0"),
        ("signed_64", "-9223372036854775808.00", "-9223372036854775808"),
        ("signed_64", "9007199254740993.0", "9007199254740993"),
        ("signed_64", "1e18", "1000000000000000000"),
        ("signed_8", "-128.0", "-128"),
        ("record", &record("1.0"), &record("1")),
        ("set", "[1.0, 2e0]", "[1,2]"),
        ("fraction_64", "1", "1.0"),
        ("fraction_64", "-0.0", "-0.0"),
        ("fraction_64", "9007199254740993.0", "9007199254740992.0"),
        ("fraction_64", "123456789012345678901234567890", "1.2345678901234568e+29"),
        ("any", "1.0", "1.0"),
    ] {
        check_echo(&host, function, value, expected);
    }
    for (function, value) in [
        ("unsigned_128", "-1"),
        ("unsigned_128", "\"-1\""),
        ("unsigned_128", "1.5"),
        ("unsigned_128", "340282366920938463463374607431768211456"),
        ("unsigned_128", "\"340282366920938463463374607431768211456\""),
        // As a number it might be rounded.
        ("unsigned_128", "18446744073709551617"),
        ("unsigned_64", "1.5"),
        ("unsigned_64", "-1.0"),
        ("unsigned_64", "18446744073709551616"),
        ("unsigned_64", "18446744073709551616.0"),
        ("unsigned_64", "\"1\""),
        ("unsigned_8", "256.0"),
        ("signed_8", "1e3"),
        ("unsigned_32", "1.00000001"),
    ] {
        check_refused(&host, function, value);
    }
    host.stop();
}

fn record(id: &str) -> String {
    format!(
        "{{\"bytes\":\"\",\"maybe_bytes\":null,\"late_bytes\":null,\"wide\":\"1\",\"maybe_wide\":null,\"wides\":[],\
         \"nested\":[],\"id\":{id},\"unit\":null,\"any\":null}}"
    )
}

#[test]
fn results_that_json_lacks_are_refused_and_not_changed() {
    let host = host();
    for (function, what) in [
        ("types.odd.not_a_number", "a number that is infinite or NaN"),
        ("types.odd.some_of_none", "an option that has a value which is nothing itself"),
    ] {
        let answer = host.call(function, &json!({}));
        let (status, code, detail) = answer.problem();
        assert_eq!((status, code.as_str(), &answer.json()["executed"]), (422, "failed", &json!(true)));
        assert!(detail.contains(what) && detail.contains("Accept: application/msgpack"), "{detail}");
        let url = format!("{}/api/v1/functions/{function}", host.url());
        let headers = [("content-type", "application/json"), ("accept", "application/msgpack")];
        assert_eq!(send("POST", &url, &headers, b"{}").status, 200, "{function}");
    }
    host.stop();
}

#[test]
fn a_call_without_a_body_has_no_arguments() {
    let host = host();
    let raw = |function: &str, head: &str, body: &str| {
        host.raw(format!("POST /api/v1/functions/{function} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{head}\r\n{body}"))
    };
    for head in
        ["", "content-length: 0\r\n", "transfer-encoding: chunked\r\n", "content-type: application/json\r\n"]
    {
        let body = if head.starts_with("transfer") { "0\r\n\r\n" } else { "" };
        let answer = raw("types.odd.no_arguments", head, body);
        assert_eq!((answer.status, answer.json()), (200, json!("ran")), "{head}");
        let answer = raw("types.odd.defaults", head, body);
        assert_eq!((answer.status, answer.json()), (200, json!([null, "", null, "42"])), "{head}");
        let missing = raw("types.echo.text", head, body);
        assert_eq!(missing.problem().0, 400);
        assert!(missing.problem().2.contains("missing field `value`"));
    }
    for (head, body) in [
        ("content-length: 2\r\n", "{}"),
        ("transfer-encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        ("content-type: text/plain\r\ncontent-length: 0\r\n", ""),
    ] {
        assert_eq!(raw("types.odd.no_arguments", head, body).problem().0, 415, "{head}");
    }
    host.stop();
}

#[test]
fn a_deadline_beyond_all_numbers_is_the_longest_one() {
    let host = host();
    let url = format!("{}/api/v1/functions/types.odd.no_arguments", host.url());
    let status = |timeout: &str| send("POST", &url, &[("x-framex-timeout-ms", timeout)], b"").status;
    for timeout in ["1000", "18446744073709551615", "18446744073709551616", &"9".repeat(1000), "0001000"] {
        assert_eq!(status(timeout), 200, "{timeout}");
    }
    for timeout in ["0", "00", "-1", "+1", "1.5", "1e3", "", "x", "9999999999999999999999x"] {
        assert_eq!(status(timeout), 400, "{timeout}");
    }
    host.stop();
}

#[test]
fn arguments_may_be_conditional_described_and_linted() {
    let host = host();
    assert_eq!(host.call("types.odd.conditional", &json!({"a": 1, "always": 2})).json(), json!(5));
    assert_eq!(host.call("types.odd.conditional", &json!({"a": 1, "always": 2, "never": 1})).status, 400);
    host.stop();
}
