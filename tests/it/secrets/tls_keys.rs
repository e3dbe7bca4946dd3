//! Private keys of certificates: of the listener, and of this host towards its peers.

use framex_tests::{Authority, Daemon, Issued, TlsClient, frames};
use rustls::version::{TLS12, TLS13};
use serde_json::json;

use super::canaries::Canaries;

const FUNCTION: &str = "demo.some.example_func";

/// A key whose file is cut off, one that belongs to another certificate, and none at all.
fn bad_keys(good: &Issued, other: &Issued) -> Vec<String> {
    let cut: String = good.key.chars().take(good.key.len() - 40).collect();
    let headless = good.key.lines().skip(1).collect::<Vec<_>>().join("\n");
    vec![cut, headless, other.key.clone(), good.key.replace("PRIVATE KEY", "SECRET THING")]
}

#[test]
fn no_private_key_of_a_certificate_shows() {
    let authority = Authority::default();
    let (of_listener, of_peer, other) = (
        authority.issue(&["localhost", "127.0.0.1"]),
        authority.issue(&["a.test"]),
        authority.issue(&["other.test"]),
    );
    let mut canaries = Canaries::plant(&[]);
    for (place, issued) in [
        ("the listener's certificate", &of_listener),
        ("the certificate for peers", &of_peer),
        ("another certificate", &other),
    ] {
        canaries.watch_pem(place, &issued.key);
    }
    assert_eq!(canaries.shown_in(of_peer.key.as_bytes()), Some("the certificate for peers"));
    let builder = Daemon::builder().plugin("demo");
    of_listener.put(builder.folder(), "host");
    of_peer.put(builder.folder(), "peer");
    std::fs::write(builder.folder().join("ca.pem"), &authority.pem).unwrap();
    let builder = builder.config(&format!(
        "log.level = \"trace\"\n{}\nserver.tls = {{ cert = \"host.pem\", key = \"host-key.pem\", client_ca = \"ca.pem\" }}\n\
         plugins.proxy.tls = {{ ca = \"ca.pem\", cert = \"peer.pem\", key = \"peer-key.pem\" }}\n\
         plugins.proxy.proxy_urls = [\"https://127.0.0.1:1\"]\n\
         plugins.proxy.proxy_functions = {{ \"https://127.0.0.1:1\" = [\"far.away\"] }}",
        frames::rules(&[frames::SECRET])
    ));
    for arguments in [&["check"][..], &["check", "--output", "json"]] {
        canaries.check_exit("check", &builder.run(arguments));
    }
    let host = builder.start();
    let client = TlsClient::new(&authority, Some(&other), &[&TLS12, &TLS13]);
    let arguments = json!({"id": 7, "user": {"id": 7, "name": "Ada"}});
    canaries.check_answer("a call", &client.call(host.address(), FUNCTION, &arguments).unwrap());
    canaries.check_answer("a call of a peer", &client.call(host.address(), "far.away", &json!({})).unwrap());
    let stranger = TlsClient::new(&authority, None, &[&TLS12, &TLS13]);
    assert!(stranger.call(host.address(), FUNCTION, &arguments).is_err());
    // Keys that cannot be used are refused by a reload, by name of their file.
    for file in ["host-key.pem", "peer-key.pem"] {
        let good = std::fs::read_to_string(host.folder().join(file)).unwrap();
        let issued = if file == "host-key.pem" { &of_listener } else { &of_peer };
        for bad in bad_keys(issued, &other) {
            std::fs::write(host.folder().join(file), bad).unwrap();
            let refused = host.reload_host();
            assert_eq!(refused.status, 422, "{}", refused.json());
            assert!(refused.json()["detail"].as_str().unwrap().contains(".pem"), "{}", refused.json());
            canaries.check_answer("a reload", &refused);
            for arguments in [&["check"][..], &["check", "--output", "json"], &["plugins", "list"]] {
                canaries.check_exit("a command", &host.run(arguments));
            }
        }
        std::fs::write(host.folder().join(file), good).unwrap();
    }
    assert_eq!(host.reload_host().status, 200);
    for path in ["plugins", "functions", "peers", "explain/far.away"] {
        canaries.check_answer(path, &host.admin_get(path));
    }
    canaries.check("the metrics", host.metrics());
    canaries.check_folder(&host.folder().join("state"));
    canaries.check("the log", host.log());
    host.stop();
}

#[test]
fn a_private_key_that_was_pasted_into_the_config_does_not_show() {
    let issued = Authority::default().issue(&["localhost"]);
    let mut canaries = Canaries::plant(&[]);
    canaries.watch_pem("a pasted key", &issued.key);
    assert_eq!(canaries.shown_in(issued.key.as_bytes()), Some("a pasted key"));
    let escaped = issued.key.replace('\n', "\\n");
    let one_line = issued.key.replace('\n', "");
    for key in [escaped, one_line] {
        for config in [
            format!("server.tls = {{ cert = \"host.pem\", key = \"{key}\" }}"),
            format!("server.tls = {{ cert = \"{key}\", key = \"host-key.pem\" }}"),
            format!("server.tls = {{ cert = \"host.pem\", key = \"host-key.pem\", client_ca = \"{key}\" }}"),
            format!("plugins.proxy.tls = {{ cert = \"host.pem\", key = \"{key}\" }}"),
            format!("plugins.proxy.tls.ca = \"{key}\""),
            format!("server.tls = \"{key}\""),
            format!("server.tls.keys = \"{key}\""),
        ] {
            let builder = Daemon::builder().config(&config);
            issued.put(builder.folder(), "host");
            for arguments in [&["check"][..], &["check", "--output", "json"], &["run"], &["plugins", "list"]]
            {
                let exit = builder.run(arguments);
                assert_ne!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
                canaries.check_exit(&format!("{arguments:?}"), &exit);
            }
        }
    }
}
