//! Two hosts behind nginx are restarted one after the other, while clients call: no call fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use framex_tests::{Client, Daemon, FreeAddress, Nginx, until};
use serde_json::json;

const DEMO: &str = "demo.some.example_func";
/// The time for which nginx avoids a host that it could not reach; 10 s by default.
const FAIL_TIMEOUT: Duration = Duration::from_secs(1);

fn host(address: FreeAddress) -> Daemon {
    // Nothing tells nginx here which hosts stop: it finds out by itself.
    Daemon::builder()
        .plugin("demo")
        .listen(address)
        .variable("FRAMEX_SERVER__SHUTDOWN_DELAY_MS", "500")
        .start()
}

#[test]
fn no_call_fails_while_hosts_behind_nginx_restart() {
    let addresses = [FreeAddress::find(), FreeAddress::find()];
    let servers = addresses.map(|address| {
        format!("server {}:{} fail_timeout={}s;", address.ip(), address.port(), FAIL_TIMEOUT.as_secs())
    });
    let mut hosts = addresses.map(host);
    let nginx = Nginx::start(
        &format!("upstream hosts {{ {} keepalive 8; }}", servers.join(" ")),
        "location / {\n\
         proxy_pass http://hosts;\n\
         proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\";\n\
         proxy_set_header Host test;\n\
         }",
    );
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            let url = format!("{}/api/v1/functions/{DEMO}", nginx.url());
            std::thread::spawn(move || {
                let client = Client::default();
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.post(&url, &json!({"id": 7, "user": {"id": 7, "name": "Ada"}}));
                    if answer.status != 200 {
                        failed.push(answer);
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                failed
            })
        })
        .collect();
    let more_calls = || {
        let before = calls.load(Ordering::Relaxed);
        until("calls are answered", || calls.load(Ordering::Relaxed) > before + 200);
    };
    for _ in 0..2 {
        hosts = hosts.map(|mut host| {
            more_calls();
            host.signal("TERM");
            assert_eq!(host.wait(), Some(0), "{}", host.log());
            let again = host.start_again();
            // An operator waits until what was restarted is taken in again.
            std::thread::park_timeout(FAIL_TIMEOUT * 2);
            again
        });
    }
    more_calls();
    stop.store(true, Ordering::Relaxed);
    let failed: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let calls = calls.load(Ordering::Relaxed);
    println!("{calls} calls, {} failed", failed.len());
    assert!(failed.is_empty(), "{} of {calls}: {:?}\n{}", failed.len(), failed.first(), nginx.log());
    for host in hosts {
        host.stop();
    }
}
