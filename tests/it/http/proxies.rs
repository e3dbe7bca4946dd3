//! Reverse proxies, each of which is one address with the connections of many.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use framex_tests::{Daemon, DaemonBuilder, until};
use serde_json::json;

const SERVER: &str = "[server]\nconnections_per_address_max = 3\nheader_timeout_ms = 60000\n";

fn host(more: &str) -> DaemonBuilder {
    Daemon::builder().plugin("misbehave").config(&format!("{SERVER}{more}"))
}

fn connect(host: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(host.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

#[test]
fn a_connection_too_many_is_counted_and_logged_but_not_each() {
    let host = host("").start();
    let _held: Vec<TcpStream> = (0..3).map(|_| connect(&host)).collect();
    until("they are open", || host.metric("framex_connections") == 3.0);
    for _ in 0..30 {
        assert_eq!(connect(&host).read(&mut [0]).unwrap_or(0), 0);
    }
    assert_eq!(host.metric("framex_limits_reached_total{limit=\"connections_per_address\"}"), 30.0);
    host.wait_for_log(
        "server.connections_per_address_max allows; if it is a reverse proxy, list it in server.proxies",
    );
    let lines = host.log().lines().filter(|line| line.contains("server.proxies")).count();
    assert!((1..=20).contains(&lines), "{lines} lines");
    assert!(host.log().contains("\"from\":\"127.0.0.1\""), "{}", host.log());
}

#[test]
fn a_proxy_that_the_config_names_has_as_many_as_all() {
    for proxies in ["[\"127.0.0.1\"]", "[\"10.0.0.0/8\", \"127.0.0.0/8\"]"] {
        let host = host(&format!("proxies = {proxies}\n")).start();
        let _held: Vec<TcpStream> = (0..30).map(|_| connect(&host)).collect();
        until("they are open", || host.metric("framex_connections") == 30.0);
        assert_eq!(host.call("misbehave.functions.sleeps", &json!({"ms": 0})).status, 200);
        assert_eq!(host.metric("framex_limits_reached_total{limit=\"connections_per_address\"}"), 0.0);
    }
}

#[test]
fn a_value_that_is_not_an_address_is_refused_at_the_start() {
    let exit = host("proxies = [\"nginx\"]\n").run_to_end();
    assert_eq!(exit.code, Some(2));
    let said =
        "`server.proxies` has `nginx`, which is not an address or network, as in 10.0.0.5 or 10.0.0.0/8";
    assert!(exit.stderr.contains(said), "{}", exit.stderr);
}
