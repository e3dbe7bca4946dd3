//! The public listener with TLS: certificates, clients with and without, reloads, and those who are slow or mistaken.

mod clients;
mod expiry;
mod reload;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use framex_tests::{Authority, Daemon, DaemonBuilder, Issued, TlsClient, TlsStream};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

const FUNCTION: &str = "demo.some.example_func";
/// Well below any deadline that is not set in a test.
const SOON: Duration = Duration::from_secs(5);

fn arguments() -> Value {
    json!({"id": 7, "user": {"id": 7, "name": "Ada"}})
}

/// A host that speaks TLS with `own`, which lies beside its config as `host.pem`. `config` goes on in `[server.tls]`.
fn host(own: &Issued, config: &str) -> DaemonBuilder {
    let host = Daemon::builder().plugin("demo");
    own.put(host.folder(), "host");
    host.config("[server.tls]\ncert = \"host.pem\"\nkey = \"host-key.pem\"").config(config)
}

fn client(authority: &Authority) -> TlsClient {
    TlsClient::new(authority, None, &[&TLS13, &TLS12])
}

/// The certificate that a host shows.
fn shown(stream: &TlsStream) -> Vec<u8> {
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[track_caller]
fn check_serves(client: &TlsClient, host: &Daemon) {
    let answer = client.call(host.address(), FUNCTION, &arguments()).unwrap();
    assert_eq!((answer.status, answer.json()), (200, json!("7: Ada")));
}

/// Reads up to the end of a connection, however that comes, and answers how long it took.
fn time_to_end(mut stream: TcpStream) -> (Duration, Vec<u8>) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (begun, mut bytes) = (Instant::now(), Vec::new());
    // A reset is one way to end.
    let _reset = stream.read_to_end(&mut bytes);
    (begun.elapsed(), bytes)
}

#[test]
fn clients_are_answered_over_both_versions_and_protocols() {
    let authority = Authority::default();
    let host = host(&authority.issue(&["localhost"]), "").start();
    for versions in [&[&TLS12][..], &[&TLS13], &[&TLS12, &TLS13]] {
        let client = TlsClient::new(&authority, None, versions);
        check_serves(&client, &host);
        for (wanted, spoken) in
            [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
        {
            let stream = client.with_protocols(wanted).connect(host.address()).unwrap();
            assert_eq!(stream.conn.alpn_protocol(), spoken.map(str::as_bytes));
        }
        assert!(client.with_protocols(&["spdy/3"]).connect(host.address()).is_err());
    }
    assert!(client(&Authority::default()).connect(host.address()).is_err(), "the certificate is checked");
    host.stop();
}

#[test]
fn plain_http_is_not_answered_on_a_tls_port() {
    let authority = Authority::default();
    let host = host(&authority.issue(&["localhost"]), "").start();
    let mut stream = TcpStream::connect(host.address()).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let (took, bytes) = time_to_end(stream);
    assert!(took < SOON, "{took:?}");
    assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");
    check_serves(&client(&authority), &host);
}

#[test]
fn tls_is_refused_on_a_plain_port() {
    let host = Daemon::builder().start();
    let begun = Instant::now();
    assert!(client(&Authority::default()).connect(host.address()).is_err());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn slow_handshakes_end_at_the_deadline_and_delay_no_client() {
    let authority = Authority::default();
    let own = authority.issue(&["localhost"]);
    let host = host(&own, "[server]\nheader_timeout_ms = 1500\nconnections_max = 20").start();
    // The head of a record, and a byte of the 512 that it announces.
    let slow: Vec<TcpStream> = (0..10)
        .map(|_| {
            let mut stream = TcpStream::connect(host.address()).unwrap();
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    check_serves(&client(&authority), &host);
    let silent = TcpStream::connect(host.address()).unwrap();
    for stream in slow.into_iter().chain([silent]) {
        let (_, bytes) = time_to_end(stream);
        assert_eq!(bytes, b"");
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1400) && took < SOON, "{took:?}");
    // Clients that are slow after the handshake fare no better.
    let mut stream = client(&authority).connect(host.address()).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\n").unwrap();
    let _closed = stream.read_to_end(&mut Vec::new());
    check_serves(&client(&authority), &host);
    host.stop();
}

#[test]
fn a_drain_lets_a_call_end_and_does_not_wait_for_handshakes() {
    let authority = Authority::default();
    let host = host(&authority.issue(&["localhost"]), "").plugin("misbehave").start();
    let _silent = TcpStream::connect(host.address()).unwrap();
    let (client, address) = (client(&authority), host.address().to_owned());
    let call = std::thread::spawn(move || {
        client.call(&address, "misbehave.functions.sleeps", &json!({"ms": 500})).unwrap().status
    });
    host.wait_for_log("begins to sleep");
    host.stop();
    assert_eq!(call.join().unwrap(), 200);
}

#[test]
fn a_start_with_bad_files_is_refused_in_one_sentence() {
    let authority = Authority::default();
    let check = |spoil: fn(&std::path::Path), sentence: &str| {
        let builder = host(&authority.issue(&["localhost"]), "");
        spoil(builder.folder());
        let exit = builder.run_to_end();
        assert_eq!(exit.code, Some(2), "{}", exit.stderr);
        assert!(exit.stderr.contains(sentence), "{}", exit.stderr);
        assert_eq!(exit.stderr.trim().lines().count(), 1, "{}", exit.stderr);
    };
    check(|folder| std::fs::remove_file(folder.join("host.pem")).unwrap(), "host.pem`, which does not exist");
    check(
        |folder| std::fs::write(folder.join("host.pem"), "garbage").unwrap(),
        "host.pem`, which has no certificate in PEM form",
    );
    check(
        |folder| {
            let other = Authority::default().issue(&["localhost"]);
            std::fs::write(folder.join("host-key.pem"), other.key).unwrap();
        },
        "host-key.pem`, which is not the key of the certificate in `",
    );
}
