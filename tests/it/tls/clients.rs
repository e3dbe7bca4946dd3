//! `server.tls.client_ca`: clients that have to show who they are.

use framex_tests::{Authority, Daemon, TlsClient};
use rustls::version::{TLS12, TLS13};

use super::{FUNCTION, arguments, check_serves, client, host};

/// A host that wants certificates of clients, signed by `of_clients`.
fn strict_host(authority: &Authority, of_clients: &Authority) -> Daemon {
    let host =
        host(&authority.issue(&["localhost"]), "client_ca = \"clients.pem\"\n[log]\nlevel = \"debug\"");
    std::fs::write(host.folder().join("clients.pem"), &of_clients.pem).unwrap();
    host.start()
}

#[test]
fn clients_with_a_certificate_of_the_authority_are_served() {
    let (authority, of_clients) = (Authority::default(), Authority::default());
    let host = strict_host(&authority, &of_clients);
    for (names, called) in [
        (&["client-a.test", "other.test", "spiffe://test/a"][..], "client-a.test"),
        (&["spiffe://test/b"], "spiffe://test/b"),
    ] {
        let own = of_clients.issue(names);
        for version in [&TLS12, &TLS13] {
            check_serves(&TlsClient::new(&authority, Some(&own), &[version]), &host);
        }
        host.wait_for_log(&format!("\"certificate\":\"{called}\""));
    }
}

#[test]
fn clients_without_a_good_certificate_are_not_served() {
    let (authority, of_clients) = (Authority::default(), Authority::default());
    let host = strict_host(&authority, &of_clients);
    let check = |client: &TlsClient| {
        let answer = client.call(host.address(), FUNCTION, &arguments());
        assert!(answer.is_err(), "{answer:?}");
    };
    for version in [&TLS12, &TLS13] {
        check(&TlsClient::new(&authority, None, &[version]));
        for own in [
            // The authority of the host is not that for clients.
            authority.issue(&["client-a.test"]),
            Authority::default().issue(&["client-a.test"]),
            of_clients.issue_expired(&["client-a.test"]),
        ] {
            check(&TlsClient::new(&authority, Some(&own), &[version]));
        }
    }
    let own = of_clients.issue(&["client-a.test"]);
    check_serves(&TlsClient::new(&authority, Some(&own), &[&TLS13]), &host);
}

#[test]
fn another_authority_of_clients_comes_with_a_reload() {
    let (authority, of_clients, later) = (Authority::default(), Authority::default(), Authority::default());
    let host = strict_host(&authority, &of_clients);
    let (before, after) = (of_clients.issue(&["client-a.test"]), later.issue(&["client-a.test"]));
    let before = TlsClient::new(&authority, Some(&before), &[&TLS13]);
    let after = TlsClient::new(&authority, Some(&after), &[&TLS13]);
    check_serves(&before, &host);
    assert!(after.call(host.address(), FUNCTION, &arguments()).is_err());
    std::fs::write(host.folder().join("clients.pem"), &later.pem).unwrap();
    assert_eq!(host.reload_host().status, 200);
    check_serves(&after, &host);
    // Not even by a session that it could resume.
    assert!(before.call(host.address(), FUNCTION, &arguments()).is_err());
    assert!(client(&authority).call(host.address(), FUNCTION, &arguments()).is_err());
}

#[test]
fn the_command_line_speaks_tls_to_a_host_by_its_name() {
    let authority = Authority::default();
    let host = host(&authority.issue(&["localhost"]), "").start();
    let ca = host.folder().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let url = host.url().replace("http://127.0.0.1", "https://localhost");
    let call = |flags: &[&str]| {
        let arguments = arguments().to_string();
        host.run(&[&["call", FUNCTION, "--json", arguments.as_str(), "--url", &url], flags].concat())
    };
    let exit = call(&["--ca", ca.to_str().unwrap()]);
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "7: Ada\n"), "{}", exit.stderr);
    assert_ne!(call(&[]).code, Some(0), "no other authority vouches for the host");
    let exit = call(&["--ca", "not.there"]);
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.starts_with("error: flag --ca: `plugins.proxy.tls.ca` is file `"), "{}", exit.stderr);
    let mut unnamed = std::process::Command::new(framex_tests::host_binary());
    let config = host.folder().join("config.toml");
    unnamed.env_clear().arg("--config").arg(config).arg("functions").stdin(std::process::Stdio::null());
    let exit = framex_tests::run_to_end(&mut unnamed);
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("speaks TLS: name it as its certificate does"), "{}", exit.stderr);
}
