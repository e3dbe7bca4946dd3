//! Peers that are found: in the DNS, in a file; and that stay when nothing can be found any more.

mod reloads;
mod services;

use std::collections::BTreeSet;
use std::path::Path;

use framex_tests::{Authority, Daemon, DaemonBuilder, DnsServer, FreeAddress, frames, until};
use serde_json::json;

use super::{FUNCTION, call, check_failed};

/// A host of that id that serves.
fn server(id: &str, at: FreeAddress) -> Daemon {
    builder(&format!("host_id = {id:?}")).listen(at).start()
}

/// Host A, whose [`FUNCTION`] runs behind `url`.
fn caller(url: &str, discover: &str, more: &str) -> DaemonBuilder {
    builder(&format!(
        "host_id = \"a\"\nplugins.proxy.white_list = [\"/api/v1/proxy/remote\"]\n\
         plugins.proxy.proxy_urls.{url:?} = {{ discover = {discover:?} }}\n\
         plugins.proxy.proxy_functions.{url:?} = [{FUNCTION:?}]\n{more}"
    ))
}

fn builder(config: &str) -> DaemonBuilder {
    Daemon::builder().config(config).config(&frames::rules(&[frames::SECRET])).plugin("misbehave")
}

fn asking(dns: &DnsServer) -> String {
    format!("plugins.proxy.dns_servers = [{:?}]", dns.address())
}

/// Replaces a file in one go.
fn put(file: &Path, text: &str) {
    let incoming = file.with_extension("incoming");
    std::fs::write(&incoming, text).unwrap();
    std::fs::rename(incoming, file).unwrap();
}

/// Returns the hosts that served some calls, all of which succeeded.
#[track_caller]
fn serving(a: &Daemon) -> BTreeSet<String> {
    let calls = (0..20).map(|_| {
        let answer = call(a);
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.header("x-framex-served-by").unwrap().to_owned()
    });
    calls.collect()
}

#[track_caller]
fn until_serving(a: &Daemon, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
    until(&format!("{expected:?} serve"), || serving(a) == expected);
}

#[test]
fn every_address_of_a_name_is_a_peer_and_they_may_change() {
    let dns = DnsServer::start();
    let at_b = FreeAddress::find();
    let (at_c, at_d) = (at_b.sibling(), at_b.sibling());
    let (b, c) = (server("b", at_b), server("c", at_c));
    dns.put_addresses("hosts.test", &[&at_b.ip(), &at_c.ip()]);
    let url = format!("http://hosts.test:{}", at_b.port());
    let a = caller(&url, "dns", &asking(&dns)).start();
    until_serving(&a, &["b", "c"]);
    // Explained by what was found, and behind what.
    let explained = a.admin_get(&format!("explain/{FUNCTION}")).json()["because"].to_string();
    for part in [at_b.url(), at_c.url(), format!("discovered via {url}")] {
        assert!(explained.contains(&part), "{explained}");
    }
    let peers = a.admin_get("peers").json()["peers"].clone();
    let shown = json!([peers[0]["health"], peers[0]["found_behind"], peers[1]["found_behind"]]);
    assert_eq!(shown, json!(["ok", url, url]), "{peers}");
    let table = a.run(&["peers", "-o", "wide"]).stdout;
    assert!(table.contains("DISCOVERED VIA") && table.contains(&url) && table.contains(" ok "), "{table}");
    // One comes, one goes: the other connections are not touched, and no call fails.
    let d = server("d", at_d);
    dns.put_addresses("hosts.test", &[&at_c.ip(), &at_d.ip()]);
    until_serving(&a, &["c", "d"]);
    b.stop();
    until_serving(&a, &["c", "d"]);
    // A reload of the config goes on with them.
    let asked = dns.queries();
    dns.silence(true);
    assert_eq!(a.reload_host().status, 200);
    until_serving(&a, &["c", "d"]);
    dns.silence(false);
    until("it is asked again", || dns.queries() > asked);
    [a, c, d].into_iter().for_each(Daemon::stop);
}

#[test]
fn known_peers_stay_when_discovery_fails() {
    let dns = DnsServer::start();
    let at_b = FreeAddress::find();
    let b = server("b", at_b);
    dns.put_addresses("hosts.test", &[&at_b.ip()]);
    let a = caller(&format!("http://hosts.test:{}", at_b.port()), "dns", &asking(&dns)).start();
    until_serving(&a, &["b"]);
    // The name is gone, then the server.
    dns.put_addresses("hosts.test", &[]);
    a.wait_for_log("cannot be found, and known peers stay");
    assert_eq!(serving(&a).len(), 1);
    dns.silence(true);
    assert_eq!(serving(&a).len(), 1);
    let at_c = at_b.sibling();
    let c = server("c", at_c);
    dns.put_addresses("hosts.test", &[&at_c.ip()]);
    dns.silence(false);
    a.wait_for_log("are found again");
    until_serving(&a, &["c"]);
    [a, b, c].into_iter().for_each(Daemon::stop);
}

#[test]
fn nothing_that_was_not_found_runs_here_instead() {
    let dns = DnsServer::start();
    let a = caller("http://hosts.test:80", "dns", &asking(&dns)).start();
    let refused = call(&a);
    check_failed(&refused, 503, "unavailable", Some(false));
    let says = format!("none of the peers that function `{FUNCTION}` runs on has been found yet");
    assert_eq!(refused.problem().2, says);
    let explained = a.admin_get(&format!("explain/{FUNCTION}")).json()["because"].to_string();
    assert!(explained.contains("none of the peers behind it has been found yet"), "{explained}");
    assert_eq!(a.admin_get("peers").json()["peers"][0]["health"], "not_found_yet");
    assert_eq!(super::runs(&a), 0);
    a.stop();
}

#[test]
fn a_dead_address_beside_a_good_one_costs_no_call() {
    let dns = DnsServer::start();
    let at_b = FreeAddress::find();
    let b = server("b", at_b);
    // Nothing listens on the port of the IPv6 loopback address, nor on another address.
    dns.put_addresses("hosts.test", &["::1", &at_b.sibling().ip(), &at_b.ip()]);
    let a = caller(&format!("http://hosts.test:{}", at_b.port()), "dns", &asking(&dns)).start();
    assert_eq!(serving(&a).len(), 1);
    a.stop();
    b.stop();
}

#[test]
fn metadata_addresses_are_not_called_because_a_name_says_so() {
    let dns = DnsServer::start();
    let at_b = FreeAddress::find();
    let b = server("b", at_b);
    dns.put_addresses("hosts.test", &["169.254.169.254", &at_b.ip()]);
    dns.put_addresses("metadata.test", &["169.254.169.254"]);
    let a = caller(&format!("http://hosts.test:{}", at_b.port()), "dns", &asking(&dns)).start();
    until_serving(&a, &["b"]);
    let peers = a.admin_get("peers").json().to_string();
    assert!(!peers.contains("169.254"), "{peers}");
    let other = caller("http://metadata.test:80", "dns", &asking(&dns)).start();
    other.wait_for_log("169.254.169.254:80 is a link-local or metadata address");
    check_failed(&call(&other), 503, "unavailable", Some(false));
    [a, b, other].into_iter().for_each(Daemon::stop);
}

#[test]
fn a_file_lists_peers_and_a_bad_one_changes_nothing() {
    let (at_b, at_c) = (FreeAddress::find(), FreeAddress::find());
    let (b, c) = (server("b", at_b), server("c", at_c));
    let a = caller("http://hosts.test", "file:peers.json", "");
    let file = a.folder().join("peers.json");
    let put = |text: &str| put(&file, text);
    put(&json!([at_b.url()]).to_string());
    let a = a.start();
    assert_eq!(serving(&a), BTreeSet::from(["b".to_owned()]), "the start waits for what is there");
    put(&json!([at_b.url(), {"url": at_c.url(), "weight": 1}]).to_string());
    until_serving(&a, &["b", "c"]);
    put("[\"http://u:canary@host\"]");
    a.wait_for_log("entry 1: a peer's URL has no user name or password");
    std::fs::remove_file(&file).unwrap();
    until_serving(&a, &["b", "c"]);
    put(&json!([{"url": at_c.url(), "priority": 0}, {"url": at_b.url(), "priority": 9}]).to_string());
    until_serving(&a, &["c"]);
    assert!(!a.log().contains("canary"));
    [a, b, c].into_iter().for_each(Daemon::stop);
}

#[test]
fn one_config_with_one_name_for_all_hosts() {
    let dns = DnsServer::start();
    let at_a = FreeAddress::find();
    let at_b = at_a.sibling();
    dns.put_addresses("hosts.test", &[&at_a.ip(), &at_b.ip()]);
    let url = format!("http://hosts.test:{}", at_a.port());
    let start = |id: &str, at: FreeAddress| {
        let config = caller(&url, "dns", &asking(&dns));
        config.variable("FRAMEX_HOST_ID", id).listen(at).start()
    };
    let (a, b) = (start("a", at_a), start("b", at_b));
    // Each finds itself among them, and then runs its calls itself.
    for (host, id) in [(&a, "a"), (&b, "b")] {
        until("it knows itself", || {
            let answer = call(host);
            answer.status == 200 && answer.header("x-framex-served-by") == Some(id)
        });
        until("all run there", || serving(host) == BTreeSet::from([id.to_owned()]));
    }
    assert!(a.log().contains("this very host"));
    [a, b].into_iter().for_each(Daemon::stop);
}

#[test]
fn a_peer_that_was_found_shows_a_certificate_of_the_name() {
    let dns = DnsServer::start();
    let authority = Authority::default();
    let at_b = FreeAddress::find();
    dns.put_addresses("hosts.test", &[&at_b.ip()]);
    for (name, is_trusted) in [("hosts.test", true), ("other.test", false)] {
        let b = builder("host_id = \"b\"").listen(at_b);
        authority.issue(&[name]).put(b.folder(), "host");
        let b = b.config("server.tls = { cert = \"host.pem\", key = \"host-key.pem\" }").start();
        let url = format!("https://hosts.test:{}", at_b.port());
        let a = caller(&url, "dns", &asking(&dns));
        std::fs::write(a.folder().join("ca.pem"), &authority.pem).unwrap();
        let a = a.config("plugins.proxy.tls.ca = \"ca.pem\"").start();
        if is_trusted {
            until_serving(&a, &["b"]);
            // Also for one that was to be found only from a reload on.
            let other = caller(&url, "file:missing.json", &asking(&dns));
            std::fs::write(other.folder().join("ca.pem"), &authority.pem).unwrap();
            let other = other.config("plugins.proxy.tls.ca = \"ca.pem\"").start();
            check_failed(&call(&other), 503, "unavailable", Some(false));
            let config = std::fs::read_to_string(other.folder().join("config.toml")).unwrap();
            other.put_config(&config.replace("\"file:missing.json\"", "\"dns\""));
            assert_eq!(other.reload_host().status, 200);
            until("it is found", || call(&other).status == 200);
            // And back: what was found is of no use any more.
            other.put_config(&config);
            assert_eq!(other.reload_host().status, 200);
            until("it is not found", || call(&other).status == 503);
            other.stop();
        } else {
            check_failed(&call(&a), 503, "unavailable", Some(false));
        }
        [a, b].into_iter().for_each(Daemon::stop);
    }
}

#[test]
fn found_peers_are_never_called_with_the_public_key() {
    let at_b = FreeAddress::find();
    let b = Daemon::builder().config("host_id = \"b\"").listen(at_b).plugin("misbehave").start();
    // A loopback URL without a key, behind which other machines could be.
    let a = Daemon::builder().plugin("misbehave").config(&format!(
        "plugins.proxy.proxy_urls.\"http://localhost:1\" = {{ discover = \"file:peers.json\" }}\n\
         plugins.proxy.proxy_functions.\"http://localhost:1\" = [{FUNCTION:?}]"
    ));
    std::fs::write(a.folder().join("peers.json"), json!([at_b.url()]).to_string()).unwrap();
    let a = a.start();
    a.wait_for_log(&format!("\"peers\":\"{}\"", at_b.url()));
    check_failed(&call(&a), 503, "unavailable", Some(false));
    a.wait_for_log("no key seals calls to this peer");
    [a, b].into_iter().for_each(Daemon::stop);
}
