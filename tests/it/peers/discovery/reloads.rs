//! Reloads of a host whose peers are found: none is lost by it, and finding them goes on.

use std::fs;
use std::process::Command;

use framex_tests::{Daemon, DnsServer, FreeAddress, until};
use serde_json::json;

use super::{asking, call, caller, check_failed, put, server, serving, until_serving};

/// Reloads with another config.
#[track_caller]
fn reload_with(host: &Daemon, config: &str) {
    host.put_config(config);
    let answer = host.reload_host();
    assert_eq!(answer.status, 200, "{}", answer.json());
}

#[test]
fn who_was_found_stays_when_others_are_asked_and_others_may_be_called() {
    let dns = DnsServer::start();
    let at_b = FreeAddress::find();
    let at_c = at_b.sibling();
    let (b, c) = (server("b", at_b), server("c", at_c));
    dns.put_addresses("hosts.test", &[&at_b.ip()]);
    let a = caller(&format!("http://hosts.test:{}", at_b.port()), "dns", &asking(&dns)).start();
    until_serving(&a, &["b"]);
    let config = fs::read_to_string(a.folder().join("config.toml")).unwrap();
    // No peer can be found now: neither by the old server nor by the new one.
    dns.silence(true);
    let other = DnsServer::start();
    other.silence(true);
    let elsewhere = config.replace(&dns.address(), &other.address());
    let allows = |config: &str| format!("{config}plugins.proxy.allow_addresses = [\"169.254.10.0/24\"]\n");
    for config in [allows(&config), config.clone(), elsewhere.clone(), allows(&elsewhere), elsewhere] {
        let asked = (dns.queries(), other.queries());
        reload_with(&a, &config);
        assert_eq!(serving(&a), ["b".to_owned()].into());
        until("it is looked for anew", || (dns.queries(), other.queries()) != asked);
        assert_eq!(serving(&a), ["b".to_owned()].into());
    }
    // The new server is the one that says who is there.
    other.put_addresses("hosts.test", &[&at_c.ip()]);
    other.silence(false);
    until_serving(&a, &["c"]);
    dns.silence(false);
    assert_eq!(serving(&a), ["c".to_owned()].into());
    [a, b, c].into_iter().for_each(Daemon::stop);
}

#[test]
fn who_was_found_and_may_no_longer_be_called_goes_at_once() {
    const LINK_LOCAL: &str = "http://169.254.10.1:9";
    const ALLOWS: &str = "plugins.proxy.allow_addresses = [\"169.254.10.0/24\"]";
    let at_b = FreeAddress::find();
    let b = server("b", at_b);
    let a = caller("http://hosts.test", "file:peers.json", "");
    let file = a.folder().join("peers.json");
    put(&file, &json!([at_b.url(), {"url": LINK_LOCAL, "priority": 9}]).to_string());
    let a = a.config(ALLOWS).start();
    let allowing = fs::read_to_string(a.folder().join("config.toml")).unwrap();
    let config = allowing.replace(ALLOWS, "");
    assert_ne!(config, allowing);
    let lists_it = || a.admin_get("peers").json().to_string().contains(LINK_LOCAL);
    until_serving(&a, &["b"]);
    assert!(lists_it());
    // Nothing says any more who is there.
    fs::remove_file(&file).unwrap();
    reload_with(&a, &config);
    assert!(!lists_it());
    assert_eq!(serving(&a), ["b".to_owned()].into());
    // And if those are all peers, none is found.
    put(&file, &json!([LINK_LOCAL]).to_string());
    reload_with(&a, &allowing);
    until("it is the only one", || {
        lists_it() && !a.admin_get("peers").json().to_string().contains(&at_b.url())
    });
    fs::remove_file(&file).unwrap();
    reload_with(&a, &config);
    check_failed(&call(&a), 503, "unavailable", Some(false));
    assert_eq!(a.admin_get("peers").json()["peers"][0]["health"], "not_found_yet");
    [a, b].into_iter().for_each(Daemon::stop);
}

#[test]
fn finding_goes_on_while_a_reload_starts_plugins_and_what_it_finds_stays() {
    let places = [FreeAddress::find(), FreeAddress::find(), FreeAddress::find()];
    let ids = ["b", "c", "d"];
    let mut hosts: Vec<Daemon> = ids.iter().zip(places).map(|(id, at)| server(id, at)).collect();
    let a = caller("http://hosts.test", "file:peers.json", "");
    let file = a.folder().join("peers.json");
    put(&file, &json!([places[0].url()]).to_string());
    // Opening it for writing blocks until there is a reader, and delays the start of the plugin until then.
    let pipe = a.folder().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let a = a.start();
    until_serving(&a, &["b"]);
    let config = fs::read_to_string(a.folder().join("config.toml")).unwrap();
    let slow = format!("{config}reload.start_timeout_ms = 120000\nplugins.misbehave.ledger = {pipe:?}\n");
    let refused = "plugins.misbehave.start = \"fail\"\n";
    let looks_anew = "plugins.proxy.allow_addresses = [\"169.254.10.0/24\"]\n";
    for (next, more, status) in [(1, refused, 422), (2, looks_anew, 200)] {
        a.put_config(&format!("{slow}{more}"));
        std::thread::scope(|scope| {
            let reloading = scope.spawn(|| a.reload_host());
            until("the plugin starts", || a.plugin_status("misbehave")["change"]["step"] == "start");
            put(&file, &json!([places[next].url()]).to_string());
            until_serving(&a, &[ids[next]]);
            // Nothing says it once more.
            hosts.remove(0).stop();
            fs::remove_file(&file).unwrap();
            assert!(!reloading.is_finished());
            let read = fs::File::open(&pipe).unwrap();
            let answer = reloading.join().unwrap();
            drop(read);
            assert_eq!(answer.status, status, "{}", answer.json());
        });
        assert_eq!(serving(&a), [ids[next].to_owned()].into());
    }
    let logged = a.log().len();
    reload_with(&a, &config);
    until("it is looked for anew", || a.log()[logged..].contains("cannot be found, and known peers stay"));
    assert_eq!(serving(&a), ["d".to_owned()].into());
    a.stop();
    hosts.into_iter().for_each(Daemon::stop);
}
