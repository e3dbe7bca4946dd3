//! The case that all of this is made for: host A has no database, and no way out but HTTP to host B, which has one.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use framex_tests::{Authority, Daemon, DaemonBuilder, ForwardProxy, MariaDb, Networks, frames};
use serde_json::json;

use super::{DAY, MORNING, OF_DATABASE, ROUTES, check_answers, check_unreachable, host_of, questions, said};

/// A name that only the proxy knows.
const NAME: &str = "host-b.test";
/// A function has 5 s; the rest is for a slow machine.
const BOUND: Duration = Duration::from_secs(15);

/// Host A: the plugin of [`host_of`], no database, and host B for all that needs one.
fn host_a(url: &str) -> DaemonBuilder {
    Daemon::builder()
        .config("host_id = \"a\"")
        .config(&format!("plugins.proxy.proxy_urls = [{url:?}]"))
        .config(&format!("plugins.proxy.proxy_functions = {{ {url:?} = {OF_DATABASE:?} }}"))
        .config(&frames::rules(&[frames::SECRET]))
        .plugin("reports")
}

/// Returns whether a server accepts connections.
fn reaches(ip: IpAddr, port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::new(ip, port), Duration::from_secs(2)).is_ok()
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// From A, there is no database: neither where B finds it, nor at B's own address.
#[track_caller]
fn check_apart(networks: &Networks, server: &MariaDb) {
    let (ip, port) = (server.ip().parse().unwrap(), port(&server.address()));
    assert!(networks.in_b(|| reaches(ip, port)), "it is there, for B");
    assert!(!networks.in_a(|| reaches(ip, port)));
    assert!(!networks.in_a(|| reaches(Networks::B.into(), port)));
}

#[test]
fn a_host_without_a_database_asks_the_one_that_has_it_over_http_alone() {
    let Some(networks) = Networks::or_skip() else { return };
    let mut server = MariaDb::new();
    networks.in_b(|| server.start());
    let b = host_of("b", &server).config(&format!("[server]\nhost = \"{}\"", Networks::B));
    let b = networks.in_b(|| b.start());
    let a = host_a(&b.url());
    let plugin = |folder: &std::path::Path| std::fs::read(folder.join("plugins/libreports.so")).unwrap();
    assert!(plugin(a.folder()) == plugin(b.folder()), "the plugin is the same file");
    let a = networks.in_a(|| a.start());

    check_apart(&networks, &server);
    assert!(networks.in_a(|| reaches(Networks::B.into(), port(b.address()))));
    assert_eq!(networks.in_a(|| b.get("/health")).status, 200, "HTTP is the way");

    // Real rows, the same that B returns itself.
    for (function, arguments) in questions() {
        let through_a = networks.in_a(|| a.call(function, &arguments));
        let of_b = networks.in_b(|| b.call(function, &arguments));
        assert_eq!(said(&through_a), said(&of_b), "{function} {arguments}");
        let ran_on = if function == MORNING { "a" } else { "b" };
        assert_eq!(through_a.header("x-framex-served-by"), Some(ran_on), "{function}");
    }
    let routes = || networks.in_a(|| a.call(ROUTES, &json!({"limit": 1})));
    check_answers(&routes(), &b);

    // The database goes and comes, without a word to either host.
    for kills in [false, true] {
        if kills {
            server.kill()
        } else {
            server.signal("STOP")
        }
        for function in [ROUTES, DAY] {
            let arguments = json!({"airport": "JFK", "date": "2013-01-04"});
            let arguments = if function == DAY { arguments } else { json!({}) };
            let began = Instant::now();
            check_unreachable(&networks.in_a(|| a.call(function, &arguments)));
            assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
        }
        if kills {
            networks.in_b(|| server.start())
        } else {
            server.signal("CONT")
        }
        check_answers(&routes(), &b);
    }
    for host in [&a, &b] {
        assert_eq!(host.plugin_status("reports")["generation"], 1, "no reload has happened");
        assert!(!server.is_betrayed_by(&host.log()), "{}", host.log());
    }
    a.stop();
    b.stop();
}

#[test]
fn a_proxy_for_https_is_way_enough() {
    let Some(networks) = Networks::or_skip() else { return };
    let mut server = MariaDb::new();
    let authority = Authority::default();
    // Host B is not on the cable either: the proxy alone is.
    let b = host_of("b", &server);
    authority.issue(&[NAME]).put(b.folder(), "host");
    let b = b.config("[server.tls]\ncert = \"host.pem\"\nkey = \"host-key.pem\"");
    networks.in_b(|| {
        server.start();
        let b = b.start();
        let proxy = ForwardProxy::start_at(Networks::B.into(), NAME, b.address());
        let a = host_a(&format!("https://{NAME}:{}", port(b.address())));
        std::fs::write(a.folder().join("ca.pem"), &authority.pem).unwrap();
        let a = a
            .config("[plugins.proxy.tls]\nca = \"ca.pem\"")
            .variable("https_proxy", &format!("http://{}", proxy.address()));
        let a = networks.in_a(|| a.start());

        check_apart(&networks, &server);
        assert!(!networks.in_a(|| reaches(Networks::B.into(), port(b.address()))), "B is not on the cable");
        assert!(networks.in_a(|| reaches(Networks::B.into(), proxy.address().port())));

        let served = networks.in_a(|| a.call(ROUTES, &json!({"limit": 1})));
        check_answers(&served, &b);
        assert_eq!(served.header("x-framex-served-by"), Some("b"));
        let morning = networks.in_a(|| a.call(MORNING, &json!({"airport": "EWR", "date": "2013-01-02"})));
        assert_eq!((morning.status, morning.json()["change"].as_i64()), (200, Some(45)), "{}", a.log());
        let heads = proxy.heads();
        // One of them is this test, which tried the port.
        let tunnels: Vec<&String> = heads.iter().filter(|head| head.starts_with("CONNECT ")).collect();
        assert!(!tunnels.is_empty() && tunnels.len() == heads.len(), "{heads:?}");
        assert!(!proxy.saw(b"LAX") && !proxy.saw(ROUTES.as_bytes()));
        a.stop();
        b.stop();
    });
}
