//! `https://` peers: a private authority, mutual TLS, and certificates that are not to be believed.

use std::time::Duration;

use framex_tests::{Authority, Daemon, DaemonBuilder, FaultyPeer, Issued, WallClock, frames, until};

use super::{FUNCTION, TRACE, call, check_failed, host};

/// Host B behind TLS with `own`; `config` goes on in `[server.tls]`.
fn host_b(own: &Issued, config: &str) -> DaemonBuilder {
    let b = host("b", &[], FUNCTION);
    own.put(b.folder(), "host");
    b.config("[server.tls]\ncert = \"host.pem\"\nkey = \"host-key.pem\"").config(config)
}

/// Host A, which calls `url` and believes `authority`; `config` goes on in `[plugins.proxy.tls]`.
fn host_a(url: &str, authority: &Authority, config: &str) -> DaemonBuilder {
    let a = host("a", &[url], FUNCTION);
    std::fs::write(a.folder().join("ca.pem"), &authority.pem).unwrap();
    a.config("[plugins.proxy.tls]\nca = \"ca.pem\"").config(config)
}

/// `https://localhost:PORT`.
fn url(b: &Daemon) -> String {
    b.url().replace("http://127.0.0.1", "https://localhost")
}

/// Calls, and checks that the call provably did not run, and that one line of the log says why.
#[track_caller]
fn check_refused(a: &Daemon, why: &str) {
    check_failed(&call(a), 503, "unavailable", Some(false));
    a.wait_for_log(why);
}

/// Returns how many warnings about calls a host has logged.
fn warnings(a: &Daemon) -> usize {
    a.log().lines().filter(|line| line.contains("\"level\":\"WARN\"") && line.contains("request_id")).count()
}

#[test]
fn sealed_calls_go_over_https_by_name_and_by_address() {
    let authority = Authority::default();
    let b = host_b(&authority.issue(&["localhost", "127.0.0.1"]), "").start();
    for url in [url(&b), b.url().replace("http://", "https://")] {
        let a = host_a(&url, &authority, "").start();
        for _ in 0..3 {
            let served = call(&a);
            assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("b")), "{}", a.log());
        }
        a.stop();
    }
    assert_eq!(runs(&b), 6);
    b.stop();
}

#[test]
fn a_peer_that_is_not_who_it_should_be_is_not_called() {
    let (authority, other) = (Authority::default(), Authority::default());
    for (own, why) in [
        (
            other.issue(&["localhost"]),
            "the certificate is signed by no authority that is trusted here: add the one",
        ),
        (authority.issue_expired(&["localhost"]), "the certificate has expired "),
        (
            authority.issue(&["b.test"]),
            "the certificate is not for `localhost` but for b.test: call the host by",
        ),
        (
            authority.issue_for_authority(&["localhost"]),
            "the certificate is one of an authority (CA:TRUE), which a",
        ),
    ] {
        let b = host_b(&own, "").start();
        let a = host_a(&url(&b), &authority, "").start();
        check_refused(&a, why);
        assert_eq!(warnings(&a), 1, "{}", a.log());
        let local = host_a(&url(&b), &authority, "").variable("FRAMEX_PLUGINS__PROXY__FALLBACK", "local");
        let served = call(&local.start());
        assert_eq!(served.header("x-framex-served-by"), Some("a"), "{served:?}");
        b.stop();
    }
}

#[test]
fn files_of_keys_and_certificates_may_begin_with_a_byte_order_mark() {
    let authority = Authority::default();
    let marked = |folder: &std::path::Path, name: &str, text: &str| {
        std::fs::write(folder.join(name), format!("\u{feff}{text}\n")).unwrap();
    };
    let rules = frames::rules(&["file:proxy.key"]);
    let b = Daemon::builder().plugin("misbehave").config("host_id = \"b\"").config(&rules);
    let own = authority.issue(&["localhost"]);
    for (name, text) in [("proxy.key", frames::SECRET), ("host.pem", &own.cert), ("host-key.pem", &own.key)] {
        marked(b.folder(), name, text);
    }
    let b = b.config("[server.tls]\ncert = \"host.pem\"\nkey = \"host-key.pem\"").start();
    let url = url(&b);
    let a = Daemon::builder()
        .config(&format!("plugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.proxy_functions = {{ {url:?} = [{FUNCTION:?}] }}"))
        .config(&rules)
        .config("plugins.proxy.tls.ca = \"ca.pem\"");
    marked(a.folder(), "proxy.key", frames::SECRET);
    marked(a.folder(), "ca.pem", &authority.pem);
    let a = a.start();
    let served = call(&a);
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("b")), "{}", a.log());
}

#[test]
fn the_error_says_that_a_peer_speaks_plain_http() {
    let b = host("b", &[], FUNCTION).start();
    let a = host_a(&b.url().replace("http://", "https://"), &Authority::default(), "").start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    a.wait_for_log("what came is not TLS: is the port one of plain http?");
}

#[test]
fn a_peer_of_an_authority_that_the_system_does_not_know_is_not_called() {
    let b = host_b(&Authority::default().issue(&["localhost"]), "").start();
    let a = host("a", &[&url(&b)], FUNCTION);
    // Where the system has authorities, none of them signed this; where it has none, the config is refused.
    let checked = a.run(&["check"]);
    if checked.stderr.contains("no certificate authorities to trust") {
        assert_eq!(checked.code, Some(2));
    } else {
        check_refused(&a.start(), "is signed by no authority");
    }
}

#[test]
fn mutual_tls_lets_only_known_hosts_in() {
    let (authority, of_clients) = (Authority::default(), Authority::default());
    let strict = "client_ca = \"clients.pem\"\n[log]\nlevel = \"debug\"";
    let b = host_b(&authority.issue(&["localhost"]), strict);
    std::fs::write(b.folder().join("clients.pem"), &of_clients.pem).unwrap();
    let b = b.start();
    let with = |own: &Issued| {
        let a = host_a(&url(&b), &authority, "cert = \"own.pem\"\nkey = \"own-key.pem\"");
        own.put(a.folder(), "own");
        a.start()
    };
    let a = with(&of_clients.issue(&["host-a.test"]));
    let served = call(&a);
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("b")), "{}", a.log());
    b.wait_for_log("\"certificate\":\"host-a.test\"");
    let without = host_a(&url(&b), &authority, "").start();
    let stranger = with(&Authority::default().issue(&["host-a.test"]));
    let expired = with(&of_clients.issue_expired(&["host-a.test"]));
    // In TLS 1.3 the call is on its way when the refusal comes: more than once, because it is a race.
    for _ in 0..20 {
        check_refused(&without, "received fatal alert: CertificateRequired");
        check_refused(&stranger, "the peer wants a certificate of this host that it accepts");
        check_refused(&expired, "the peer wants a certificate of this host that it accepts");
    }
    assert_eq!(call(&a).status, 200);
    until("both calls that were let in have left their lines", || runs(&b) >= 2);
    b.stop();
}

/// Returns how often [`FUNCTION`] ran on a host that is called over TLS; each ended call has left its line.
fn runs(host: &Daemon) -> usize {
    host.log().lines().filter(|line| line.contains(TRACE) && line.contains("an info")).count()
}

#[test]
fn https_is_never_spoken_without_tls() {
    let authority = Authority::default();
    // It would answer anything that it can read; it waits for the end of a head, and the handshake gives up.
    let plain = FaultyPeer::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec());
    let a = host_a(&plain.url().replace("http://", "https://"), &authority, "").start();
    check_refused(&a, "no connection within 8 s");
    assert_eq!(plain.requests(), 0);
    let garbled = FaultyPeer::start(|conversation| {
        conversation.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let a = host_a(&garbled.url().replace("http://", "https://"), &authority, "").start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
}

#[test]
fn plain_calls_to_a_tls_port_fail() {
    let b = host_b(&Authority::default().issue(&["localhost"]), "").start();
    let a = host("a", &[&b.url()], FUNCTION).start();
    // Only a hello was sent.
    check_failed(&call(&a), 503, "unavailable", Some(false));
    b.stop();
}

#[test]
fn a_reload_brings_another_authority_and_another_certificate() {
    let (authority, later) = (Authority::default(), Authority::default());
    let b = host_b(&authority.issue(&["localhost"]), "").start();
    let a = host_a(&url(&b), &authority, "").start();
    assert_eq!(call(&a).status, 200);
    std::fs::write(a.folder().join("ca.pem"), &later.pem).unwrap();
    assert_eq!(a.reload_host().status, 200);
    check_refused(&a, "is signed by no authority");
    later.issue(&["localhost"]).put(b.folder(), "host");
    assert_eq!(b.reload_host().status, 200);
    assert_eq!(call(&a).status, 200);
    std::fs::write(a.folder().join("ca.pem"), "garbage").unwrap();
    assert_eq!(a.reload_host().status, 422);
    assert_eq!(call(&a).status, 200);
}

#[test]
fn a_new_certificate_of_this_host_is_shown_from_its_reload_on() {
    let (authority, of_clients) = (Authority::default(), Authority::default());
    let b = host_b(&authority.issue(&["localhost"]), "client_ca = \"clients.pem\"\n[log]\nlevel = \"debug\"");
    std::fs::write(b.folder().join("clients.pem"), &of_clients.pem).unwrap();
    let b = b.start();
    let a = host_a(&url(&b), &authority, "cert = \"own.pem\"\nkey = \"own-key.pem\"");
    of_clients.issue(&["first.test"]).put(a.folder(), "own");
    let a = a.start();
    assert_eq!(call(&a).status, 200, "{}", a.log());
    of_clients.issue(&["second.test"]).put(a.folder(), "own");
    assert_eq!(a.reload_host().status, 200);
    assert_eq!(call(&a).status, 200, "{}", a.log());
    b.wait_for_log("\"certificate\":\"second.test\"");
    b.stop();
}

#[test]
fn a_kept_connection_is_not_used_beyond_the_certificate_of_its_peer() {
    let authority = Authority::default();
    let clock = WallClock::off_by(0);
    let hour = Duration::from_secs(3600);
    let b = host_b(&authority.issue_for(&["localhost"], hour), "").wall_clock(&clock).start();
    let a = host_a(&url(&b), &authority, "").wall_clock(&clock).start();
    for _ in 0..3 {
        assert_eq!(call(&a).status, 200, "{}", a.log());
    }
    // B has a new certificate in time: kept connections with the old one are left, and no call fails.
    authority.issue(&["localhost"]).put(b.folder(), "host");
    assert_eq!(b.reload_host().status, 200);
    assert_eq!(call(&a).status, 200, "{}", a.log());
    clock.set(2 * 3600);
    for _ in 0..3 {
        assert_eq!(call(&a).status, 200, "{}", a.log());
    }
    b.stop();
}

#[test]
fn an_expired_certificate_of_a_peer_is_not_believed_on_a_kept_connection() {
    let authority = Authority::default();
    let clock = WallClock::off_by(0);
    let own = authority.issue_for(&["localhost"], Duration::from_secs(3600));
    let b = host_b(&own, "").wall_clock(&clock).start();
    let a = host_a(&url(&b), &authority, "").wall_clock(&clock).start();
    assert_eq!(call(&a).status, 200, "{}", a.log());
    clock.set(2 * 3600);
    check_refused(&a, "the certificate has expired ");
    b.stop();
}
