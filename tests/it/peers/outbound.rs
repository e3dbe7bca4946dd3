//! Peers that are reached through a proxy, as the variables of the environment say.

use framex_tests::{Authority, ClosedPort, Daemon, DaemonBuilder, ForwardProxy};

use super::{FUNCTION, TRACE, call, check_failed, host, runs};

/// A name that only the proxy knows.
const NAME: &str = "host-b.test";
/// `me:pass@word`, percent-encoded in a URL and as the header has it.
const CREDENTIALS: (&str, &str) = ("me:pass%40word@", "Basic bWU6cGFzc0B3b3Jk");

fn host_b() -> Daemon {
    host("b", &[], FUNCTION).start()
}

/// Host B behind TLS, and host A that believes its certificate, with B's URL by name.
fn tls_hosts() -> (Daemon, DaemonBuilder) {
    tls_hosts_at(NAME)
}

/// The same, with that name in B's URL.
fn tls_hosts_at(name: &str) -> (Daemon, DaemonBuilder) {
    let authority = Authority::default();
    let b = host("b", &[], FUNCTION);
    authority.issue(&[NAME]).put(b.folder(), "host");
    let b = b.config("[server.tls]\ncert = \"host.pem\"\nkey = \"host-key.pem\"").start();
    let a = host("a", &[&format!("https://{name}:{}", port(&b))], FUNCTION);
    std::fs::write(a.folder().join("ca.pem"), &authority.pem).unwrap();
    (b, a.config("[plugins.proxy.tls]\nca = \"ca.pem\""))
}

fn port(host: &Daemon) -> &str {
    host.address().rsplit_once(':').unwrap().1
}

/// Host A, which calls host B by its name.
fn host_a(b: &Daemon) -> DaemonBuilder {
    host("a", &[&format!("http://{NAME}:{}", port(b))], FUNCTION)
}

fn url(proxy: &ForwardProxy) -> String {
    format!("http://{}", proxy.address())
}

#[track_caller]
fn check_served_by_b(a: &Daemon) {
    let served = call(a);
    assert_eq!((served.status, served.header("x-framex-served-by")), (200, Some("b")), "{}", a.log());
}

#[test]
fn http_peers_are_asked_for_by_their_whole_url() {
    let b = host_b();
    let proxy = ForwardProxy::start(NAME, b.address());
    for variable in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        let a = host_a(&b).variable(variable, &url(&proxy)).start();
        check_served_by_b(&a);
        check_served_by_b(&a);
    }
    let heads = proxy.heads();
    // This proxy closes after each answer, so each call is preceded by a hello; a host may say one without a call as well.
    assert!(heads.len() >= 12, "{heads:?}");
    let line = format!("POST http://{NAME}:{}/api/v1/proxy/remote HTTP/1.1\r\n", port(&b));
    assert!(heads.iter().all(|head| head.starts_with(&line)), "{heads:?}");
    assert!(proxy.saw(b"application/vnd.framex.sealed") && !proxy.saw(TRACE.as_bytes()));
    assert!(!proxy.saw(FUNCTION.as_bytes()), "the name of the function is sealed too");
    assert_eq!(runs(&b), 6);
}

#[test]
fn https_peers_are_called_through_a_tunnel() {
    let (b, a) = tls_hosts();
    let proxy = ForwardProxy::start(NAME, b.address());
    let a = a.variable("https_proxy", &url(&proxy)).start();
    check_served_by_b(&a);
    check_served_by_b(&a);
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1, "the connection is kept: {heads:?}");
    assert!(heads[0].starts_with(&format!("CONNECT {NAME}:{} HTTP/1.1\r\n", port(&b))), "{heads:?}");
    assert!(proxy.passed() > heads[0].len() && !proxy.saw(TRACE.as_bytes()));
    assert!(!proxy.saw(b"application/vnd.framex.sealed") && !proxy.saw(b"/api/v1/proxy/remote"));
}

#[test]
fn credentials_reach_the_proxy_and_no_log() {
    let (b, a) = tls_hosts();
    let proxy = ForwardProxy::wanting(CREDENTIALS.1, NAME, b.address());
    let through = url(&proxy).replace("http://", &format!("http://{}", CREDENTIALS.0));
    let a = a.variable("https_proxy", &through).config("[log]\nlevel = \"trace\"").start();
    check_served_by_b(&a);
    let plain = host_b();
    let proxy = ForwardProxy::wanting(CREDENTIALS.1, NAME, plain.address());
    let through = url(&proxy).replace("http://", &format!("http://{}", CREDENTIALS.0));
    let other = host_a(&plain).variable("http_proxy", &through).config("[log]\nlevel = \"trace\"").start();
    check_served_by_b(&other);
    for log in [a.log(), other.log(), b.log(), plain.log()] {
        assert!(!log.contains("pass%40word") && !log.contains("pass@word") && !log.contains("bWU6"), "{log}");
    }
}

#[test]
fn a_tunnel_that_is_refused_means_that_nothing_was_sent() {
    let (_b, a) = tls_hosts();
    let refusing = ForwardProxy::refusing("502 Bad Gateway");
    let a = a.variable("https_proxy", &url(&refusing)).start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    let why = "gave no connection: it answered CONNECT with 502 Bad Gateway";
    a.wait_for_log(&format!("the proxy {} {why}", refusing.address()));
    let (_b, a) = tls_hosts();
    let wanting = ForwardProxy::wanting(CREDENTIALS.1, NAME, "127.0.0.1:1");
    let a = a.variable("https_proxy", &url(&wanting)).start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    a.wait_for_log("it answered CONNECT with 407 Proxy Authentication Required");
    assert!(!wanting.saw(b"sealed"));
}

#[test]
fn every_success_opens_a_tunnel() {
    for status in ["204 No Content", "201 Created", "200"] {
        let (b, a) = tls_hosts();
        let proxy = ForwardProxy::welcoming(status, NAME, b.address());
        let a = a.variable("https_proxy", &url(&proxy)).start();
        check_served_by_b(&a);
    }
}

#[test]
fn a_name_may_end_in_a_dot() {
    let name = format!("{NAME}.");
    let (b, a) = tls_hosts_at(&name);
    let proxy = ForwardProxy::start(&name, b.address());
    let a = a.variable("https_proxy", &url(&proxy)).start();
    check_served_by_b(&a);
    let head = &proxy.heads()[0];
    assert!(head.starts_with(&format!("CONNECT {name}:{} HTTP/1.1\r\n", port(&b))), "{head}");
    let (_b, a) = tls_hosts_at(&name);
    // Not through the proxy, which alone knows the name.
    let a = a.variable("https_proxy", &url(&proxy)).variable("NO_PROXY", NAME).start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    assert_eq!(proxy.heads().len(), 1);
}

#[test]
fn an_answer_of_the_proxy_to_a_hello_does_not_make_a_peer() {
    let b = host_b();
    let wanting = ForwardProxy::wanting(CREDENTIALS.1, NAME, b.address());
    let lost = ForwardProxy::start("another.test", b.address());
    let refusing = ForwardProxy::refusing("302 Found");
    for (proxy, status) in [(&wanting, "407"), (&lost, "502"), (&refusing, "302")] {
        let a = host_a(&b).variable("http_proxy", &url(proxy));
        let a = a.variable("FRAMEX_PLUGINS__PROXY__WAIT_MS", "0").start();
        check_failed(&call(&a), 503, "unavailable", Some(false));
        a.wait_for_log(&format!("the answer is not a sealed frame: HTTP status {status}"));
        assert!((1..=2).contains(&proxy.heads().len()), "only hellos were sent");
    }
    assert_eq!(runs(&b), 0);
}

#[test]
fn a_proxy_that_is_gone_means_that_nothing_was_sent() {
    let (b, closed) = (host_b(), ClosedPort::take());
    let a = host_a(&b).variable("http_proxy", &closed.url()).start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    a.wait_for_log("gave no connection");
}

#[test]
fn loopback_peers_and_those_of_no_proxy_are_called_directly() {
    let b = host_b();
    let proxy = ForwardProxy::start(NAME, b.address());
    for peer in [b.url(), b.url().replace("127.0.0.1", "localhost")] {
        let a = host("a", &[&peer], FUNCTION).variable("ALL_PROXY", &url(&proxy)).start();
        check_served_by_b(&a);
    }
    // Only the proxy knows the name.
    let a = host_a(&b).variable("ALL_PROXY", &url(&proxy)).variable("NO_PROXY", "x.test, .test").start();
    check_failed(&call(&a), 503, "unavailable", Some(false));
    assert_eq!(proxy.heads(), [""; 0]);
    assert_eq!(runs(&b), 2);
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_at_the_start() {
    let b = host_b();
    let exit = host_a(&b).variable("ALL_PROXY", "socks5://me:canary@127.0.0.1:1").run_to_end();
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("variable ALL_PROXY: only proxies that are reached by http"),
        "{}",
        exit.stderr
    );
    assert!(!exit.stderr.contains("canary"), "{}", exit.stderr);
}
