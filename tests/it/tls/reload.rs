//! Certificates that are replaced while the host runs.

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use framex_tests::{Authority, Daemon, TlsClient};
use serde_json::json;

use super::{FUNCTION, arguments, check_serves, client, host, shown};

/// The certificate that a new connection is shown.
fn certificate(client: &TlsClient, host: &Daemon) -> Vec<u8> {
    shown(&client.connect(host.address()).unwrap())
}

#[test]
fn a_certificate_is_replaced_under_load_without_a_failed_call() {
    let authority = Authority::default();
    let host = host(&authority.issue(&["localhost"]), "").start();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let (client, address) = (client(&authority), host.address().to_owned());
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.call(&address, FUNCTION, &arguments()).expect("no call fails");
                    assert_eq!(answer.status, 200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // A connection that stays open all the time.
    let mut kept = client(&authority).connect(host.address()).unwrap();
    let first = shown(&kept);
    let mut before = first.clone();
    for _ in 0..5 {
        let passed = done.load(Ordering::Relaxed);
        authority.issue(&["localhost"]).put(host.folder(), "host");
        assert_eq!(host.reload_host().status, 200);
        let now = certificate(&client(&authority), &host);
        assert_ne!(now, before);
        before = now;
        while done.load(Ordering::Relaxed) < passed + 20 {
            assert!(callers.iter().all(|caller| !caller.is_finished()), "a call failed");
            std::thread::yield_now();
        }
    }
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().unwrap();
    }
    host.stop();
}

#[test]
fn a_bad_file_refuses_the_reload_and_nothing_changes() {
    let authority = Authority::default();
    let host = host(&authority.issue(&["localhost"]), "").start();
    let client = client(&authority);
    let before = certificate(&client, &host);
    let refused = |sentence: &str| {
        let answer = host.reload_host();
        let (status, _, detail) = answer.problem();
        assert_eq!((status, answer.json()["step"].as_str()), (422, Some("config")), "{detail}");
        assert!(detail.contains(sentence), "{detail}");
        assert_eq!(certificate(&client, &host), before);
    };
    let next = authority.issue(&["localhost"]);
    fs::write(host.folder().join("host.pem"), &next.cert).unwrap();
    refused("host-key.pem`, which is not the key of the certificate in `");
    fs::remove_file(host.folder().join("host-key.pem")).unwrap();
    refused("host-key.pem`, which does not exist");
    next.put(host.folder(), "host");
    assert_eq!(host.reload_host().status, 200);
    assert_ne!(certificate(&client, &host), before);
}

#[test]
fn tls_comes_and_goes_with_a_restart() {
    let authority = Authority::default();
    let host = host(&authority.issue(&["localhost"]), "").start();
    let config = fs::read_to_string(host.folder().join("config.toml")).unwrap();
    host.put_config("");
    let report = host.reload_host().json();
    assert_eq!(report["restart_required"], json!(["server.tls"]));
    check_serves(&client(&authority), &host);
    let host = host.start_again();
    assert_eq!(host.get("/health").status, 200);
    host.put_config(&config);
    assert_eq!(host.reload_host().json()["restart_required"], json!(["server.tls"]));
    assert_eq!(host.get("/health").status, 200);
    check_serves(&client(&authority), &host.start_again());
}

#[test]
fn a_watched_certificate_is_taken_by_itself() {
    let authority = Authority::default();
    let host = host(&authority.issue(&["localhost"]), "[reload]\nwatch = true").start();
    host.wait_for_log("watching");
    let client = client(&authority);
    let before = certificate(&client, &host);
    authority.issue(&["localhost"]).put(host.folder(), "host");
    let deadline = Instant::now() + Duration::from_secs(60);
    while certificate(&client, &host) == before {
        assert!(Instant::now() < deadline, "{}", host.log());
        std::thread::yield_now();
    }
}
