//! Peers that are the targets of a service in the DNS, some of which cannot be looked up.

use framex_tests::{Daemon, DnsServer, FreeAddress, until};
use serde_json::json;

use super::{asking, call, caller, server, serving, until_serving};

const SERVICE: &str = "_framex._tcp.hosts.test";
/// The warning that operators get, once.
const PARTLY: &str = "some peers of this URL cannot be found, and known peers stay";

/// Host A, whose function runs at the targets of [`SERVICE`].
fn looking(dns: &DnsServer) -> Daemon {
    caller(&format!("http://{SERVICE}"), "srv", &asking(dns)).start()
}

/// Returns how often the log has this.
fn said(host: &Daemon, part: &str) -> usize {
    host.log().lines().filter(|line| line.contains(part)).count()
}

#[test]
fn a_service_says_ports_priorities_and_weights() {
    let dns = DnsServer::start();
    let (at_b, at_c) = (FreeAddress::find(), FreeAddress::find());
    let (b, c) = (server("b", at_b), server("c", at_c));
    dns.put_addresses("b.test", &[&at_b.ip()]);
    dns.put_addresses("c.test", &[&at_c.ip()]);
    dns.put_service(
        SERVICE,
        &[(10, 5, at_b.port(), "b.test"), (20, 0, at_c.port(), "c.test"), (10, 1, 1, "gone.test")],
    );
    let a = looking(&dns);
    until_serving(&a, &["b"]);
    let peers = a.admin_get("peers").json();
    let listed: Vec<_> = peers["peers"].as_array().unwrap().iter().map(|peer| peer["url"].clone()).collect();
    assert!(listed.contains(&json!(at_b.url())) && listed.contains(&json!(at_c.url())), "{listed:?}");
    // The host with the later priority serves when the first is gone.
    b.stop();
    until("the other one serves", || call(&a).header("x-framex-served-by") == Some("c"));
    [a, c].into_iter().for_each(Daemon::stop);
}

#[test]
fn targets_whose_addresses_were_told_stay_when_they_are_no_longer_told() {
    let dns = DnsServer::start();
    let (at_b, at_c) = (FreeAddress::find(), FreeAddress::find());
    let (b, c) = (server("b", at_b), server("c", at_c));
    dns.put_addresses("b.test", &[&at_b.ip()]);
    dns.put_addresses("c.test", &[&at_c.ip()]);
    dns.put_service(SERVICE, &[(0, 1, at_b.port(), "b.test"), (0, 1, at_c.port(), "c.test")]);
    // The name of one is never answered, but its addresses are said along with the service.
    dns.silence_name("c.test");
    dns.tell_along(true);
    let a = looking(&dns);
    until_serving(&a, &["b", "c"]);
    assert_eq!(said(&a, PARTLY), 0);
    dns.tell_along(false);
    a.wait_for_log(PARTLY);
    assert!(said(&a, "`c.test.`: no answer in time") == 1, "{}", a.log());
    // Round after round, and said once.
    let asked = dns.queries();
    until("it is looked for again", || {
        assert_eq!(a.admin_get("peers").json()["peers"].as_array().map(Vec::len), Some(2));
        dns.queries() > asked + 8
    });
    until_serving(&a, &["b", "c"]);
    assert_eq!((said(&a, PARTLY), said(&a, "are found again")), (1, 0));
    dns.tell_along(true);
    a.wait_for_log("the peers of this URL are found again");
    assert_eq!(serving(&a).len(), 2);
    // It goes when the service no longer has it.
    dns.put_service(SERVICE, &[(0, 1, at_b.port(), "b.test")]);
    until_serving(&a, &["b"]);
    [a, b, c].into_iter().for_each(Daemon::stop);
}

#[test]
fn targets_that_are_not_answered_do_not_keep_the_others_from_being_found() {
    let dns = DnsServer::start();
    let at_z = FreeAddress::find();
    let z = server("z", at_z);
    dns.put_addresses("z.test", &[&at_z.ip()]);
    let silent = ["c.test", "d.test", "e.test", "f.test", "g.test", "h.test"];
    let mut targets: Vec<_> = silent.iter().map(|name| (0, 1, 9, *name)).collect();
    targets.push((0, 1, at_z.port(), "z.test"));
    dns.put_service(SERVICE, &targets);
    silent.iter().for_each(|name| dns.silence_name(name));
    let a = looking(&dns);
    until("the one that is answered is found", || call(&a).status == 200);
    assert_eq!(serving(&a), ["z".to_owned()].into());
    a.wait_for_log(PARTLY);
    [a, z].into_iter().for_each(Daemon::stop);
}
