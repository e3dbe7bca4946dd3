//! Callers by the name in the certificate of their connection.

use framex_tests::{Answer, Authority, Daemon, Issued, TlsClient, frames};
use rustls::version::{TLS12, TLS13};
use serde_json::json;

use super::{DEMO, FUNCTIONS, LOGS, OPENAPI, OPS, WEB, ada, check_denied, check_unauthenticated, host};

/// The only caller with certificates and without a key.
const ONLY_CERTIFICATE: &str =
    "robot = { certificates = [\"spiffe://test/robot\"], functions = [\"demo.*\"] }";

/// A host that speaks mutual TLS, and whose callers have certificates.
struct Host {
    daemon: Daemon,
    authority: Authority,
    of_clients: Authority,
}

impl Host {
    fn start(callers: &str) -> Self {
        let (authority, of_clients) = (Authority::default(), Authority::default());
        let host = host();
        authority.issue(&["localhost"]).put(host.folder(), "host");
        std::fs::write(host.folder().join("clients.pem"), &of_clients.pem).unwrap();
        let tls = "[server.tls]\ncert = \"host.pem\"\nkey = \"host-key.pem\"\nclient_ca = \"clients.pem\"";
        let daemon = host.config(tls).config(callers).start();
        Self { daemon, authority, of_clients }
    }

    fn client(&self, names: &[&str]) -> TlsClient {
        self.client_with(&self.of_clients.issue(names))
    }

    fn client_with(&self, own: &Issued) -> TlsClient {
        TlsClient::new(&self.authority, Some(own), &[&TLS13, &TLS12])
    }

    fn ask(&self, client: &TlsClient, method: &str, path: &str, key: Option<&str>) -> Answer {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(key.map(|key| ("authorization", key)));
        let body = if method == "POST" { ada().to_string() } else { String::new() };
        client.send(self.daemon.address(), method, path, &headers, body.as_bytes()).unwrap()
    }

    fn call(&self, client: &TlsClient, function: &str, key: Option<&str>) -> Answer {
        self.ask(client, "POST", &format!("{FUNCTIONS}/{function}"), key)
    }
}

/// One with both, one with certificates, one with a key.
fn callers() -> String {
    format!(
        "[auth.callers]\nweb = {{ keys = [{WEB:?}], certificates = [\"web.test\"], functions = [\"demo.*\"] }}\n\
         {ONLY_CERTIFICATE}\nops = {{ keys = [\"env:OPS_KEY\"], functions = [\"*\"] }}"
    )
}

#[test]
fn the_name_in_a_certificate_is_the_caller() {
    let host = Host::start(&callers());
    for (names, called) in
        [(&["web.test", "other.test"][..], "web"), (&["spiffe://test/robot", "spiffe://test/x"], "robot")]
    {
        let client = host.client(names);
        assert_eq!(host.call(&client, DEMO, None).json(), "7: Ada");
        let sentence = format!("caller `{called}` may not call function `{LOGS}`");
        check_denied(&host.call(&client, LOGS, None), &sentence);
        let catalogue = host.ask(&client, "GET", FUNCTIONS, None).json();
        assert_eq!(catalogue["functions"].as_array().unwrap().len(), 1, "{catalogue}");
        let document = host.ask(&client, "GET", OPENAPI, None).json();
        assert_eq!(document["paths"].as_object().unwrap().len(), 1, "{document}");
    }
    host.daemon.wait_for_log("\"caller\":\"robot\"");
    host.daemon.stop();
}

#[test]
fn other_names_in_a_certificate_name_no_caller() {
    let host = Host::start(&callers());
    for names in [
        // The second name, another case, parts of it, and a certificate that would cover it.
        &["other.test", "web.test"][..],
        &["WEB.test"],
        &["a.web.test"],
        &["*.test"],
        &["other.test", "spiffe://test/robot"],
        &["spiffe://test/robot/x"],
    ] {
        let client = host.client(names);
        check_unauthenticated(&host.call(&client, DEMO, None));
        check_unauthenticated(&host.ask(&client, "GET", FUNCTIONS, None));
        // A key is one over any connection.
        assert_eq!(host.call(&client, DEMO, Some(WEB)).status, 200, "{names:?}");
    }
    let stranger = host.client_with(&Authority::default().issue(&["web.test"]));
    let body = ada().to_string();
    let path = format!("{FUNCTIONS}/{DEMO}");
    assert!(stranger.send(host.daemon.address(), "POST", &path, &[], body.as_bytes()).is_err());
    host.daemon.stop();
}

#[test]
fn a_uri_never_stands_for_a_dns_name() {
    let host = Host::start(&callers());
    // An authority that may sign no name below `test` can still sign URIs.
    for name in ["uri:web.test", "uri:web.test/", "uri://web.test"] {
        let client = host.client(&[name]);
        check_unauthenticated(&host.call(&client, DEMO, None));
        check_unauthenticated(&host.ask(&client, "GET", FUNCTIONS, None));
    }
    assert_eq!(host.call(&host.client(&["spiffe://test/robot"]), DEMO, None).status, 200);
    host.daemon.stop();
}

#[test]
fn a_page_cannot_use_the_certificate_of_a_browser() {
    let host = Host::start(&callers());
    let client = host.client(&["web.test"]);
    let path = format!("{FUNCTIONS}/{DEMO}");
    let call = |more: &[(&str, &str)]| {
        let headers = [&[("content-type", "application/json")], more].concat();
        let body = ada().to_string();
        client.send(host.daemon.address(), "POST", &path, &headers, body.as_bytes()).unwrap()
    };
    for more in [("origin", "https://evil.test"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(call(&[more]).problem().1, "permission_denied", "{more:?}");
        assert_eq!(call(&[more, ("authorization", WEB)]).status, 200, "{more:?}");
    }
    assert_eq!(call(&[("origin", "https://localhost"), ("sec-fetch-site", "same-origin")]).status, 200);
    host.daemon.stop();
}

#[test]
fn a_key_wins_over_the_certificate() {
    let host = Host::start(&callers());
    let client = host.client(&["web.test"]);
    assert_eq!(host.call(&client, LOGS, None).status, 403);
    // It reaches the function, which takes other arguments.
    assert_eq!(host.call(&client, LOGS, Some(OPS)).problem().1, "invalid_argument");
    for wrong in ["wrong", "Bearer wrong", "", "Bearer "] {
        check_unauthenticated(&host.call(&client, DEMO, Some(wrong)));
        check_unauthenticated(&host.ask(&client, "GET", OPENAPI, Some(wrong)));
    }
    host.daemon.stop();
}

#[test]
fn certificates_open_no_other_path_and_seal_nothing() {
    let rules = "[auth.rules]\n\"/health\" = [\"health-key\"]\n\"/api/v1/functions/*\" = [\"rule-key\"]";
    let host = Host::start(&format!("[auth.callers]\n{ONLY_CERTIFICATE}\n{rules}"));
    let client = host.client(&["spiffe://test/robot"]);
    check_unauthenticated(&host.ask(&client, "GET", "/health", None));
    assert_eq!(host.ask(&client, "GET", "/ready", None).status, 200);
    // More than the rule asks for.
    assert_eq!(host.call(&client, DEMO, None).status, 200);
    // Without any key, nothing of hosts is opened, not even what hosts of one machine seal with.
    let public = frames::key_of("fxk1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let (_, frame) = frames::seal(&public, &frames::envelope(DEMO, &ada()));
    let headers = [("content-type", framex_host::wire::CONTENT_TYPE)];
    let refused = client.send(host.daemon.address(), "POST", "/api/v1/proxy/remote", &headers, &frame);
    let expected = (401, "unauthenticated".to_owned(), "this path needs a valid key".to_owned());
    assert_eq!(refused.unwrap().problem(), expected);
    let exit = host.daemon.run(&["check"]);
    let warning = "`/api/v1/proxy/remote` answers no host: no caller of `auth.callers` has a key";
    assert!(exit.stderr.contains(warning) || exit.stdout.contains(warning), "{}{}", exit.stdout, exit.stderr);
    host.daemon.stop();
}

#[test]
fn certificates_of_callers_come_and_go_with_a_reload() {
    let host = Host::start(&callers());
    let client = host.client(&["new.test"]);
    check_unauthenticated(&host.call(&client, DEMO, None));
    let before = std::fs::read_to_string(host.daemon.folder().join("config.toml")).unwrap();
    for (names, statuses) in [("\"new.test\"", (200, 401)), ("\"web.test\", \"new.test\"", (200, 200))] {
        host.daemon.put_config(&before.replace("\"web.test\"", names));
        assert_eq!(host.daemon.reload_host().status, 200);
        let old = host.call(&host.client(&["web.test"]), DEMO, None).status;
        assert_eq!((host.call(&client, DEMO, None).status, old), statuses);
    }
    host.daemon.put_config(&before.replace("client_ca", "# client_ca"));
    let refused = host.daemon.reload_host().json();
    assert_eq!(refused["step"], json!("config"), "{refused}");
    assert_eq!(host.call(&client, DEMO, None).status, 200);
    // OpenAPI says that either will do.
    let document = host.ask(&client, "GET", OPENAPI, None).json();
    assert_eq!(document["security"], json!([{"key": []}, {"certificate": []}]));
    assert_eq!(host.call(&client, DEMO, None).status, 200);
    host.daemon.stop();
}
