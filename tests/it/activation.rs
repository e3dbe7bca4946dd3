//! Sockets that a supervisor holds (`LISTEN_FDS`): the host restarts, and no connection is refused.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use framex_tests::{Daemon, DaemonBuilder, post, until};
use serde_json::json;

const DEMO: &str = "demo.some.example_func";

fn builder() -> DaemonBuilder {
    Daemon::builder().plugin("demo")
}

#[test]
fn a_restart_on_a_socket_that_is_held_refuses_no_connection() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let host = builder().socket(&socket).start();
    assert_eq!(host.address(), address.to_string());
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            let url = format!("http://{address}/api/v1/functions/{DEMO}");
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // A connection of its own; it fails the test if it is refused.
                    let answer = post(&url, &json!({"id": 7, "user": {"id": 7, "name": "Ada"}}));
                    assert_eq!(answer.status, 200, "{answer:?}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut host = host;
    for _ in 0..2 {
        let before = calls.load(Ordering::Relaxed);
        until("calls are answered", || calls.load(Ordering::Relaxed) > before + 50);
        host.stop();
        TcpStream::connect(address).expect("the socket is held while no host runs");
        host = builder().socket(&socket).start();
    }
    let before = calls.load(Ordering::Relaxed);
    until("calls are answered", || calls.load(Ordering::Relaxed) > before + 50);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    host.stop();
}

#[test]
fn the_socket_unit_fits_the_config() {
    let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let read = |name: &str| std::fs::read_to_string(config.join(name)).unwrap();
    let reference: toml::Table = read("config.toml").parse().unwrap();
    let server = &reference["server"];
    let listen = format!("ListenStream={}:{}", server["host"].as_str().unwrap(), server["port"]);
    assert!(read("framex-host.socket").lines().any(|line| line == listen), "{listen}");
}

#[test]
fn a_socket_must_be_where_the_config_says() {
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let exit = builder().socket(&socket).run_to_end();
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    let port = socket.local_addr().unwrap().port();
    let error = format!(
        "error: a socket of LISTEN_FDS cannot be used: the socket is bound to 0.0.0.0:{port}, and server.host and \
         server.port say 127.0.0.1:0: give both the same address"
    );
    assert!(exit.stderr.contains(&error), "{}", exit.stderr);
}

#[test]
fn the_admin_api_takes_a_socket_of_its_name() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let named = || builder().socket(&socket).variable("LISTEN_FDNAMES", "admin");
    let exit = named().run_to_end();
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("is of no use without admin.listen and admin.token"), "{}", exit.stderr);
    let host = named().config("admin.listen = \"127.0.0.1:0\"\nadmin.token = \"0123456789abcdef\"").start();
    let url = format!("http://{}/health", socket.local_addr().unwrap());
    assert_eq!(framex_tests::get(&url).json()["status"], "ok");
    host.stop();
}
