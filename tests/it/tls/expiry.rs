//! The identity that a handshake showed counts only while a new handshake would show it: sessions are not resumed, and
//! connections end with the certificate, or with the authority that signed it.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use framex_tests::{Authority, Daemon, DaemonBuilder, Issued, TlsClient, TlsStream, WallClock};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, SupportedProtocolVersion};
use serde_json::json;

use super::{FUNCTION, arguments, check_serves, host};

const HOUR: Duration = Duration::from_secs(3600);
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// The authorities of a host and of its clients.
#[derive(Default)]
struct Authorities {
    of_hosts: Authority,
    of_clients: Authority,
}

impl Authorities {
    fn host(&self) -> DaemonBuilder {
        let callers = "[auth.callers.robot]\ncertificates = [\"robot.test\"]\nfunctions = [\"*\"]";
        let builder =
            host(&self.of_hosts.issue(&["localhost"]), "client_ca = \"clients.pem\"").config(callers);
        std::fs::write(builder.folder().join("clients.pem"), &self.of_clients.pem).unwrap();
        builder.plugin("misbehave")
    }

    fn client(&self, own: &Issued, version: &'static SupportedProtocolVersion) -> TlsClient {
        TlsClient::new(&self.of_hosts, Some(own), &[version])
    }
}

/// Sends a request on a connection that stays open, and answers the status and the head.
fn ask(stream: &mut TlsStream) -> (u16, String) {
    stream.write_all(b"GET /api/v1/functions HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut read = Vec::new();
    let (head, length) = loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&read));
        read.extend(&part[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().to_owned();
            if body.len() >= length.parse::<usize>().unwrap() {
                break (head, body.len());
            }
        }
    };
    assert!(length > 0);
    (head[9..12].parse().unwrap(), head)
}

/// Reads up to the end of the connection, which comes in time.
fn read_to_end(stream: &mut TlsStream, within: Duration) -> Vec<u8> {
    let begun = Instant::now();
    let mut read = Vec::new();
    // The end may come without a goodbye of TLS.
    let _ended = stream.read_to_end(&mut read);
    assert!(begun.elapsed() < within, "the connection stays open: {:?}", begun.elapsed());
    read
}

#[test]
fn an_expired_certificate_is_not_resumed() {
    let authorities = Authorities::default();
    for version in VERSIONS {
        let clock = WallClock::off_by(0);
        let host = authorities.host().wall_clock(&clock).start();
        let own = authorities.of_clients.issue_for(&["robot.test"], HOUR);
        let client = authorities.client(&own, version);
        for _ in 0..3 {
            check_serves(&client, &host);
            // What the client knows of sessions would be used here.
            let stream = client.connect(host.address()).unwrap();
            assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
        }
        clock.set(2 * 3600);
        for _ in 0..3 {
            let served = client.call(host.address(), FUNCTION, &arguments());
            assert!(served.is_err(), "{version:?}: {served:?}");
        }
        host.stop();
    }
}

#[test]
fn sessions_without_certificates_are_still_resumed() {
    let authority = Authority::default();
    let host = host(&authority.issue(&["localhost"]), "").start();
    for version in VERSIONS {
        let client = TlsClient::new(&authority, None, &[version]);
        check_serves(&client, &host);
        let stream = client.connect(host.address()).unwrap();
        assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
    }
    host.stop();
}

#[test]
fn a_kept_connection_is_refused_once_the_certificate_has_expired() {
    let authorities = Authorities::default();
    for version in VERSIONS {
        let clock = WallClock::off_by(0);
        let host = authorities.host().wall_clock(&clock).start();
        let own = authorities.of_clients.issue_for(&["robot.test"], HOUR);
        let mut kept = authorities.client(&own, version).connect(host.address()).unwrap();
        for _ in 0..2 {
            assert_eq!(ask(&mut kept).0, 200);
        }
        clock.set(2 * 3600);
        let (status, head) = ask(&mut kept);
        assert_eq!(status, 401, "{head}");
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(read_to_end(&mut kept, Duration::from_secs(30)), b"");
        host.stop();
    }
}

#[test]
fn idle_connections_end_with_the_certificate_and_calls_are_answered() {
    let authorities = Authorities::default();
    // Nothing else ends them within the time of this test.
    let long = [("FRAMEX_SERVER__HEADER_TIMEOUT_MS", "300000"), ("FRAMEX_SERVER__IDLE_TIMEOUT_MS", "300000")];
    let host = long.iter().fold(authorities.host(), |host, (name, value)| host.variable(name, value)).start();
    let own = authorities.of_clients.issue_for(&["robot.test"], Duration::from_secs(20));
    let client = authorities.client(&own, &TLS13);
    let mut idle = client.connect(host.address()).unwrap();
    assert_eq!(ask(&mut idle).0, 200);
    let mut http2 = client.with_protocols(&["h2"]).connect(host.address()).unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // A frame of headers by index: `GET`, `https`, `/`.
    let get = [0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x87, 0x84];
    http2.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &get].concat()).unwrap();
    // It began in time, and ends after the certificate.
    let calling = std::thread::spawn({
        let (client, address) = (client.clone(), host.address().to_owned());
        move || client.call(&address, "misbehave.functions.sleeps", &json!({ "ms": 24000 }))
    });
    assert_eq!(read_to_end(&mut idle, Duration::from_secs(60)), b"");
    let said = read_to_end(&mut http2, Duration::from_secs(60));
    let has_goaway = said.windows(9).any(|frame| frame[3] == 7 && frame[4..] == [0, 0, 0, 0, 0]);
    assert!(has_goaway, "{said:?}");
    let called = calling.join().unwrap().unwrap();
    assert_eq!(called.status, 200, "{called:?}");
    assert!(
        client
            .connect(host.address())
            .and_then(|mut stream| {
                stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
                stream.read_exact(&mut [0; 8])
            })
            .is_err()
    );
    host.stop();
}

/// Puts other authorities of clients into force.
fn put_authorities(host: &Daemon, pem: &str) {
    std::fs::write(host.folder().join("clients.pem"), pem).unwrap();
    assert_eq!(host.reload_host().status, 200);
}

#[test]
fn connections_end_with_the_authority_and_stay_while_it_is_believed() {
    let authorities = Authorities::default();
    let host = authorities.host().start();
    let later = Authority::default();
    let own = authorities.of_clients.issue(&["robot.test"]);
    let client = authorities.client(&own, &TLS13);
    let [mut idle, mut kept] = [(); 2].map(|()| client.connect(host.address()).unwrap());
    assert_eq!((ask(&mut idle).0, ask(&mut kept).0), (200, 200));
    put_authorities(&host, &format!("{}{}", authorities.of_clients.pem, later.pem));
    assert_eq!(ask(&mut kept).0, 200, "its authority is still there");
    put_authorities(&host, &later.pem);
    let ended = read_to_end(&mut idle, Duration::from_secs(30));
    assert_eq!(ended, b"");
    // Its end may have come already.
    kept.write_all(b"GET /api/v1/functions HTTP/1.1\r\nhost: localhost\r\n\r\n").ok();
    let refused = String::from_utf8_lossy(&read_to_end(&mut kept, Duration::from_secs(30))).into_owned();
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 401 "), "{refused}");
    host.stop();
}

#[test]
fn connections_without_a_certificate_end_when_clients_need_one() {
    let authorities = Authorities::default();
    let host = host(&authorities.of_hosts.issue(&["localhost"]), "").start();
    let mut kept = TlsClient::new(&authorities.of_hosts, None, &[&TLS13]).connect(host.address()).unwrap();
    assert_eq!(ask(&mut kept).0, 200);
    let before = std::fs::read_to_string(host.folder().join("config.toml")).unwrap();
    std::fs::write(host.folder().join("clients.pem"), &authorities.of_clients.pem).unwrap();
    host.put_config(&before.replace("[server.tls]", "[server.tls]\nclient_ca = \"clients.pem\""));
    assert_eq!(host.reload_host().status, 200);
    assert_eq!(read_to_end(&mut kept, Duration::from_secs(30)), b"");
    host.stop();
}
