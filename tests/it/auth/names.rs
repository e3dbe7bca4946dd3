//! Web pages: a name that was bound to this machine (DNS rebinding), and pages of other origins. They can have requests
//! sent to a loopback listener, and get nothing from it without a key.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use framex_tests::{Answer, Daemon, DaemonBuilder, frames};

use super::{BODY, CALL, FUNCTIONS};

const DEMO: &str = "demo.some.example_func";
const KEY: &str = "a-key-of-16-bytes";
const PUBLIC: &str = "fxk1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const BY_NAME: &str = "a request without a key must name this host by an IP address, as localhost, or by a name in \
                       `server.names` of its config, and this one names another";
const BY_PAGE: &str = "a request without a key must not come from a page of another origin: `server.names` in the host's \
                       config has the names of sites whose pages may ask";

/// A host whose `server.names` is this.
fn host(names: &str) -> DaemonBuilder {
    Daemon::builder().plugin("demo").variable("FRAMEX_SERVER__NAMES", names)
}

fn ask(host: &Daemon, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    host.raw([head.as_bytes(), body].concat())
}

fn call(host: &Daemon, headers: &[(&str, &str)]) -> Answer {
    ask(host, "POST", CALL, &[&[("content-type", "application/json")], headers].concat(), BODY)
}

#[track_caller]
fn check_refused(answer: &Answer, sentence: &str) {
    assert_eq!(answer.problem(), (403, "permission_denied".to_owned(), sentence.to_owned()));
    assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("access-control-")), "{answer:?}");
}

#[test]
fn a_rebound_name_gets_nothing_without_a_key() {
    let host = host("[]").start();
    let port = host.address().rsplit_once(':').unwrap().1.to_owned();
    for name in
        ["evil.test", "evil.test:8080", "localhost.evil.test", "127.0.0.1.evil.test", "localhost.", ""]
    {
        let named = [("host", name)];
        check_refused(&call(&host, &named), BY_NAME);
        check_refused(&ask(&host, "GET", FUNCTIONS, &named, b""), BY_NAME);
        check_refused(&ask(&host, "GET", "/api/v1/openapi.json", &named, b""), BY_NAME);
        check_refused(&ask(&host, "OPTIONS", CALL, &named, b""), BY_NAME);
        // What hosts without a key seal with is as good as no key.
        let (_, frame) = frames::seal(&frames::key_of(PUBLIC), &frames::envelope(DEMO, &"x"));
        let sealed = [named[0], ("content-type", framex_host::wire::CONTENT_TYPE)];
        check_refused(&ask(&host, "POST", "/api/v1/proxy/remote", &sealed, &frame), BY_NAME);
    }
    let forwarded =
        [("host", "evil.test"), ("x-forwarded-host", "localhost"), ("forwarded", "host=localhost")];
    check_refused(&call(&host, &forwarded), BY_NAME);
    check_refused(
        &ask(&host, "GET", &format!("http://evil.test{FUNCTIONS}"), &[("host", "localhost")], b""),
        BY_NAME,
    );
    check_refused(
        &ask(&host, "GET", &format!("http://localhost{FUNCTIONS}"), &[("host", "evil.test")], b""),
        BY_NAME,
    );
    for name in
        [host.address(), "127.0.0.1", "localhost", "LOCALHOST:1", &format!("[::1]:{port}"), "10.1.2.3:80"]
    {
        assert_eq!(call(&host, &[("host", name)]).status, 200, "{name}");
    }
    host.stop();
}

#[test]
fn probes_may_use_any_name() {
    let host = host("[]").start();
    for path in ["/health", "/ready"] {
        for headers in [&[("host", "balancer.test")][..], &[("host", "x.test"), ("origin", "http://x.test")]]
        {
            assert_eq!(ask(&host, "GET", path, headers, b"").status, 200, "{path} {headers:?}");
        }
        let old = host.raw(format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert_eq!(old.status, 200, "{path}");
    }
    host.stop();
}

#[test]
fn pages_of_other_origins_are_refused() {
    let host = host("[\"app.test\"]").start();
    let own = ("host", host.address());
    let same = format!("http://{}", host.address());
    for origin in
        ["http://evil.test", "null", "http://127.0.0.1:1", "http://203.0.113.5", "http://localhost", ""]
    {
        check_refused(&call(&host, &[own, ("origin", origin)]), BY_PAGE);
        check_refused(&ask(&host, "GET", FUNCTIONS, &[own, ("origin", origin)], b""), BY_PAGE);
    }
    check_refused(&call(&host, &[own, ("sec-fetch-site", "cross-site")]), BY_PAGE);
    check_refused(&ask(&host, "GET", FUNCTIONS, &[own, ("sec-fetch-site", "cross-site")], b""), BY_PAGE);
    for origin in [&*same, "https://app.test"] {
        assert_eq!(call(&host, &[own, ("origin", origin)]).status, 200, "{origin}");
    }
    // A link that a user follows: the page with the link cannot read the answer.
    let followed = [own, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    assert_eq!(ask(&host, "GET", FUNCTIONS, &followed, b"").status, 200);
    host.stop();
}

#[test]
fn names_of_the_config_and_requests_with_a_key_pass() {
    let rules = format!(
        "[plugins.proxy.auth]\nrules = {{ \"/api/v1/proxy/remote\" = [{:?}], \"{CALL}\" = [{KEY:?}] }}",
        frames::SECRET
    );
    let host = host("[\"Api.test\"]").config(&rules).start();
    for name in ["api.test", "API.test:8443"] {
        assert_eq!(ask(&host, "GET", FUNCTIONS, &[("host", name)], b"").status, 200, "{name}");
    }
    check_refused(&ask(&host, "GET", FUNCTIONS, &[("host", "x.api.test")], b""), BY_NAME);
    let evil = ("host", "any.test");
    assert_eq!(call(&host, &[evil]).status, 401, "the rule decides first");
    assert_eq!(call(&host, &[evil, ("authorization", KEY), ("origin", "http://any.test")]).status, 200);
    // A host that calls this one by a name has the key.
    let arguments: serde_json::Value = serde_json::from_slice(BODY).unwrap();
    let (id, frame) = frames::seal(&frames::key(), &frames::envelope(DEMO, &arguments));
    let sealed = [evil, ("content-type", framex_host::wire::CONTENT_TYPE)];
    let answer = ask(&host, "POST", "/api/v1/proxy/remote", &sealed, &frame);
    assert!(frames::open(&frames::key(), id, &answer).outcome.is_ok());
    host.stop();
}

#[test]
fn names_come_and_go_with_a_reload_and_a_star_is_every_name() {
    let host = Daemon::builder().plugin("demo").variable("FRAMEX_SERVER__NAMES", "[\"*\"]").start();
    assert_eq!(call(&host, &[("host", "any.test")]).status, 200);
    host.stop();
    let wrong = Daemon::builder().variable("FRAMEX_SERVER__NAMES", "[\"http://api.test\"]").run(&["check"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("is not the name of a host, as in api.example.com"), "{}", wrong.stderr);
}

#[test]
fn a_listener_that_others_reach_takes_every_name_until_it_has_some() {
    let url = |host: &Daemon| format!("127.0.0.1:{}", host.address().rsplit_once(':').unwrap().1);
    for (names, status) in [("[]", 200), ("[\"api.test\"]", 403)] {
        let host = host(names).config("server.host = \"0.0.0.0\"").start();
        let request = format!("GET {FUNCTIONS} HTTP/1.1\r\nhost: any.test\r\nconnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(url(&host)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{names}: {answer}");
        host.stop();
    }
}

/// The bytes of a `GET` over HTTP/2 by prior knowledge, every header as a literal.
fn over_http2(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    let length = u32::try_from(block.len()).unwrap().to_be_bytes();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // END_STREAM and END_HEADERS, on stream 1.
    let frame = [&length[1..], &[1, 5, 0, 0, 0, 1], &block].concat();
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &frame].concat()
}

#[test]
fn the_authority_of_http2_is_a_name_as_well() {
    let host = host("[\"api.test\"]").start();
    let own = host.address().to_owned();
    let get = |more: &[(&str, &str)], expected: &str| {
        let path = [(":method", "GET"), (":scheme", "http"), (":path", FUNCTIONS)];
        let mut stream = TcpStream::connect(&own).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(&over_http2(&[&path, more].concat())).unwrap();
        let (mut read, mut part) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&read).contains(expected) {
            let count = stream.read(&mut part).unwrap();
            assert_ne!(count, 0, "{more:?}: {}", String::from_utf8_lossy(&read));
            read.extend(&part[..count]);
        }
    };
    for named in [&own[..], "localhost", "api.test:1"] {
        get(&[(":authority", named)], DEMO);
    }
    get(&[(":authority", "evil.test")], BY_NAME);
    get(&[(":authority", "localhost"), ("host", "evil.test")], BY_NAME);
    get(&[(":authority", &own), ("origin", "http://evil.test")], BY_PAGE);
    host.stop();
}
