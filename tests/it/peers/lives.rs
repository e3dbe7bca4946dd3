//! Peers that come and go, callers that leave, and time that runs out along a chain.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use framex_tests::FreeAddress;
use serde_json::json;

use super::{FUNCTION, authentic, call, check_failed, host, runs, success};

#[test]
fn a_peer_that_was_restarted_fails_no_call() {
    let at_b = FreeAddress::find();
    let a = host("a", &[&at_b.url()], FUNCTION).start();
    for round in 0..4 {
        let b = host("b", &[], FUNCTION).listen(at_b).start();
        // On the connections of the life before, stamped by a clock that knew nothing of it.
        for _ in 0..3 {
            let served = call(&a);
            assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("b")), "{round}");
        }
        assert_eq!(runs(&b), 3);
        if round % 2 == 0 {
            b.stop();
        } else {
            drop(b);
        }
    }
    assert_eq!(runs(&a), 0);
}

#[test]
fn a_peer_that_comes_up_later_serves() {
    let at_b = FreeAddress::find();
    let a = host("a", &[&at_b.url()], FUNCTION).start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    let _b = host("b", &[], FUNCTION).listen(at_b).start();
    let served = call(&a);
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("b")));
    assert_eq!(runs(&a), 0);
}

#[test]
fn a_caller_that_leaves_ends_its_call_on_the_peer() {
    const WAITS: &str = "misbehave.functions.tells_when_dropped";
    let b = host("b", &[], FUNCTION).start();
    let a = host("a", &[&b.url()], WAITS).start();
    let client = a.begin(WAITS, &json!({"ms": 600_000}));
    b.wait_for_log("the call waits");
    assert!(!b.log().contains("the call was dropped"), "{}", b.log());
    drop(client);
    b.wait_for_log("the call was dropped");
    // Both go on, on other connections.
    assert_eq!(a.call(WAITS, &json!({"ms": 1})).json(), json!(1));
    a.stop();
    b.stop();
}

#[test]
fn a_call_that_takes_too_long_ends_on_the_peer() {
    const WAITS: &str = "misbehave.functions.tells_when_dropped";
    let b = host("b", &[], FUNCTION).start();
    let a = host("a", &[&b.url()], WAITS).start();
    let answer = a.call_within(WAITS, &json!({"ms": 600_000}), 300);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (504, Some("deadline_exceeded")));
    b.wait_for_log("the call was dropped");
}

#[test]
fn time_and_hops_travel_along_a_chain() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let c = authentic(move |_, envelope| {
        let hops: Vec<String> = envelope.hops.iter().map(|hop| hop.to_string()).collect();
        note.lock().expect("no script panics").push((
            envelope.remaining_ms,
            hops,
            envelope.traceparent.clone(),
        ));
        success()
    });
    let b = host("b", &[&c.url()], FUNCTION).start();
    let a = host("a", &[&b.url()], FUNCTION).start();
    let url = format!("{}/api/v1/functions/{FUNCTION}", a.url());
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers =
        [("content-type", "application/json"), ("x-framex-timeout-ms", "5000"), ("traceparent", traceparent)];
    let served = framex_tests::send("POST", &url, &headers, br#"{"text": "chain"}"#);
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("scripted")));
    let seen = seen.lock().unwrap();
    let [(remaining_ms, hops, trace)] = &seen[..] else { panic!("{seen:?}") };
    assert!((1..5000).contains(remaining_ms), "{remaining_ms}");
    assert_eq!(
        (hops.as_slice(), trace.as_deref()),
        (&["a".to_owned(), "b".to_owned()][..], Some(traceparent))
    );
}

#[test]
fn the_deadline_of_the_first_host_ends_the_call_on_the_last() {
    const WAITS: &str = "misbehave.functions.tells_when_dropped";
    let c = host("c", &[], FUNCTION).start();
    let b = host("b", &[&c.url()], WAITS).start();
    let a = host("a", &[&b.url()], WAITS).start();
    let served = a.call(WAITS, &json!({"ms": 1}));
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("c")));
    let answer = a.call_within(WAITS, &json!({"ms": 600_000}), 400);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (504, Some("deadline_exceeded")));
    c.wait_for_log("the call was dropped");
}

#[test]
fn a_connection_that_brings_no_request_is_closed() {
    let host = host("a", &[], FUNCTION).config("server.header_timeout_ms = 600").start();
    // Nothing, less than tells HTTP/1.1 from HTTP/2, half a head, and HTTP/2 that opens no stream.
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for said in [&b""[..], b"P", b"PRI * HTT", b"POST / HTTP/1.1\r\n", settings] {
        let mut client = TcpStream::connect(host.address()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.write_all(said).unwrap();
        let mut rest = Vec::new();
        let closed = client.read_to_end(&mut rest);
        assert!(closed.is_ok(), "{said:?}: {closed:?}");
    }
    assert_eq!(call(&host).status, 200);
    host.stop();
}
