//! Peers whose connection or HTTP is at fault. In none of these cases does the function run on the caller's host,
//! and never is more than one request sent, unless a connection breaks that was kept.

use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use framex_host::wire::CONTENT_TYPE;
use framex_tests::{Conversation, FaultyPeer, frames, http_answer, is_instrumented};

use super::{FUNCTION, call, call_within, check_failed, host, runs, success};

/// The time limit for an answer that needs no waiting.
const SOON: Duration = Duration::from_secs(10);

/// A call to a peer that behaves like this is `unavailable`, and whether it ran is unknown.
#[track_caller]
fn check_unusable(script: impl Fn(&mut Conversation) + Send + Sync + 'static) {
    let peer = FaultyPeer::start(script);
    check_peer(&peer, 503, "unavailable");
    assert_eq!(peer.requests(), 1);
}

/// A peer that answers its first request with these bytes.
#[track_caller]
fn check_unusable_answer(answer: Vec<u8>) {
    check_unusable(move |conversation| {
        if conversation.request().is_some() {
            conversation.send(&answer);
        }
    });
}

#[track_caller]
fn check_peer(peer: &FaultyPeer, status: u16, code: &str) {
    let a = host("a", &[&peer.url()], FUNCTION).start();
    let began = Instant::now();
    check_failed(&call(&a), status, code, None);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(runs(&a), 0, "it ran here");
    assert_eq!(peer.connections(), 1);
    a.stop();
}

#[test]
fn a_refused_connection_proves_that_nothing_ran() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let a = host("a", &[&url], FUNCTION).start();
    let began = Instant::now();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(runs(&a), 0);
}

#[test]
fn a_peer_that_never_answers_is_given_up_at_the_deadline() {
    let (closed, wait) = mpsc::channel();
    let peer = FaultyPeer::start(move |conversation| {
        conversation.request();
        conversation.wait_for_close();
        closed.send(()).expect("the test waits");
    });
    let a = host("a", &[&peer.url()], FUNCTION).start();
    let began = Instant::now();
    check_failed(&call_within(&a, 300), 504, "deadline_exceeded", None);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300) && took < SOON, "{took:?}");
    wait.recv_timeout(SOON).expect("the connection is closed, so that the peer can give up as well");
    assert_eq!((runs(&a), peer.requests(), peer.connections()), (0, 1, 1));
    a.stop();
}

#[test]
fn a_peer_that_accepts_and_closes() {
    let peer = FaultyPeer::start(|_| {});
    let a = host("a", &[&peer.url()], FUNCTION).start();
    // Not even a hello was answered, so nothing was called.
    check_failed(&call(&a), 503, "unavailable", Some(false));
    assert_eq!(runs(&a), 0, "it ran here");
}

#[test]
fn a_peer_that_closes_instead_of_answering() {
    check_unusable(|conversation| {
        conversation.request();
    });
}

#[test]
fn a_peer_that_resets_the_connection_after_the_request() {
    // What was not read when a socket is closed makes it a reset.
    check_unusable(|conversation| {
        conversation.request_without(1);
    });
}

#[test]
fn a_peer_that_closes_a_kept_connection_under_a_call() {
    // The second request is the first one on a connection that was used before: it may have been seen, so the very same
    // frame is sent over another connection, which its receiver would not run a second time.
    let peer = FaultyPeer::start(|conversation| {
        let Some((opened, _)) = conversation.request().and_then(|frame| frames::open_request(&frame)) else {
            return;
        };
        conversation.send(&opened.answer(&success()));
        conversation.request();
    });
    let a = host("a", &[&peer.url()], FUNCTION).start();
    assert_eq!(call(&a).status, 200);
    assert_eq!((peer.requests(), peer.connections()), (1, 1));
    assert_eq!(call(&a).status, 200);
    assert_eq!((peer.requests(), peer.connections()), (3, 2));
    let frames = peer.frames();
    assert!(frames[1] == frames[2] && frames[0] != frames[1]);
    assert_eq!(runs(&a), 0);
}

#[test]
fn a_peer_that_closes_halfway_through_its_answer() {
    let whole = http_answer("200 OK", &[("content-type", CONTENT_TYPE)], &[7; 400]);
    for length in [1, 10, whole.len() - 200, whole.len() - 1] {
        check_unusable_answer(whole[..length].to_vec());
    }
}

#[test]
fn a_gateway_that_answers_for_the_peer() {
    let html = [("content-type", "text/html"), ("connection", "close")];
    check_unusable_answer(http_answer("502 Bad Gateway", &html, b"<html>Bad Gateway</html>"));
    check_unusable_answer(http_answer("503 Service Unavailable", &[("retry-after", "1")], b""));
    check_unusable_answer(http_answer("404 Not Found", &html, b"<html>"));
    check_unusable_answer(http_answer("413 Payload Too Large", &[], b""));
    check_unusable_answer(http_answer("400 Bad Request", &html, b"<html>not a host at all</html>"));
}

#[test]
fn an_answer_that_is_no_frame() {
    check_unusable_answer(http_answer("200 OK", &[("content-type", "text/plain")], b"junk"));
    check_unusable_answer(http_answer("200 OK", &[], b""));
    for junk in [&b""[..], b"junk", &[0; 80], &b"FXW1\x02".repeat(100), b"FXW2"] {
        check_unusable_answer(http_answer("200 OK", &[("content-type", CONTENT_TYPE)], junk));
    }
    check_unusable_answer(b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec());
    check_unusable_answer(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_vec(),
    );
}

#[test]
fn a_redirect_is_not_followed() {
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let other = FaultyPeer::start(|_| {});
        let location = format!("{}/api/v1/proxy/remote", other.url());
        check_unusable_answer(http_answer(status, &[("location", &location)], b""));
        assert_eq!(other.connections(), 0, "{status}");
    }
}

#[test]
fn a_peer_that_does_not_accept_the_key() {
    let peer = FaultyPeer::answering(|_| http_answer("401 Unauthorized", &[], b"{}"));
    check_peer(&peer, 503, "unavailable");
    assert_eq!(peer.requests(), 1);
}

#[test]
fn a_peer_of_another_version() {
    let peer = FaultyPeer::answering(|_| http_answer("400 Bad Request", &[("x-framex-wire", "2")], b"{}"));
    check_peer(&peer, 503, "unavailable");
    assert_eq!(peer.requests(), 1);
}

/// A peer that sends `head`, and then `more` as long as the client reads.
#[track_caller]
fn check_endless(head: &'static [u8], more: &'static [u8]) {
    let peer = FaultyPeer::start(move |conversation| {
        conversation.request();
        let more = more.repeat(1000);
        if conversation.send(head) {
            // At most a GiB, which is far more than the host may take.
            let mut left = (1 << 30) / more.len();
            while left > 0 && conversation.send(&more) {
                left -= 1;
            }
        }
    });
    let a = host("a", &[&peer.url()], FUNCTION).start();
    let before = a.resident_bytes_max();
    check_failed(&call(&a), 503, "unavailable", None);
    // The limit is 4 MiB and an envelope, which is held twice for a moment.
    let grown = a.resident_bytes_max() - before;
    assert!(is_instrumented() || grown < 24 << 20, "the answer cost {grown} bytes");
    assert!(peer.bytes_sent() < 64 << 20, "{} bytes were taken", peer.bytes_sent());
    assert_eq!((runs(&a), peer.requests(), peer.connections()), (0, 1, 1));
}

#[test]
fn a_head_without_end() {
    check_endless(b"HTTP/1.1 200 OK\r\n", b"x-more: and more\r\n");
    check_endless(b"HTTP/1.1 200 OK\r\nx-more: ", b"and more");
    check_endless(b"", b"HTTP/1.1 100 Continue\r\nx-more: and more\r\n");
}

#[test]
fn an_answer_of_a_gibibyte() {
    check_endless(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.framex.sealed\r\ncontent-length: 1073741824\r\n\r\n",
        b"0123456789abcdef",
    );
    check_endless(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.framex.sealed\r\ntransfer-encoding: chunked\r\n\r\n",
        b"10\r\n0123456789abcdef\r\n",
    );
    check_endless(b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.framex.sealed\r\n\r\n", b"to the end");
}

#[test]
fn an_answer_that_trickles_is_given_up_at_the_deadline() {
    let peer = FaultyPeer::start(|conversation| {
        conversation.request();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: 1000\r\n\r\n");
        conversation.send(head.as_bytes());
        conversation.send(b"FXW1");
        conversation.wait_for_close();
    });
    let a = host("a", &[&peer.url()], FUNCTION).start();
    check_failed(&call_within(&a, 300), 504, "deadline_exceeded", None);
    assert_eq!((runs(&a), peer.requests()), (0, 1));
}
