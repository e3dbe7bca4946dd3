//! `POST /admin/v1/reload`: the config and the plugin directory, all or nothing.

use std::fs;

use framex_tests::{Build, Daemon, send, until};
use serde_json::{Value, json};

use super::load::Load;
use super::{BUILD, check_done, check_mapped, check_refused, check_serves, host, sealed};

const DEMO: &str = "demo.some.example_func";

fn generation(host: &Daemon, plugin: &str) -> u64 {
    host.plugin_status(plugin)["generation"].as_u64().unwrap()
}

/// The names of the plugins in a list of changes.
fn changed(report: &Value) -> Vec<&str> {
    report["plugins"].as_array().unwrap().iter().map(|change| change["plugin"].as_str().unwrap()).collect()
}

#[test]
fn only_what_changed_is_touched() {
    let host = host().plugin("demo").start();
    let report = check_done(&host.reload_host());
    assert_eq!((changed(&report), &report["unchanged"]), (vec![], &json!(["changing", "demo"])));
    host.put_build(Build::new(2));
    let report = check_done(&host.reload_host());
    assert_eq!((changed(&report), &report["unchanged"]), (vec!["changing"], &json!(["demo"])));
    let change = &report["plugins"][0];
    assert_eq!((&change["generation"], &change["previous"]), (&json!(2), &json!(1)));
    assert!(change["steps"].as_array().unwrap().iter().any(|step| step["step"] == "publish"), "{change}");
    check_serves(&host, Build::new(2));
    assert_eq!((generation(&host, "changing"), generation(&host, "demo")), (2, 1));
    check_mapped(&host, 2);
    host.wait_for_log("\"generation\":2,\"level\":\"INFO\",\"plugin\":\"changing\",\"result\":\"done\"");
}

#[test]
fn files_that_come_and_go_are_loaded_and_withdrawn() {
    let host = host().start();
    fs::copy(framex_tests::plugin_file("demo"), host.plugins().join("libdemo.so")).unwrap();
    assert_eq!(changed(&check_done(&host.reload_host())), ["demo"]);
    assert_eq!(host.call(DEMO, &json!({"id": 1, "user": {"id": 1, "name": "Ada"}})).status, 200);
    fs::remove_file(host.plugins().join("libchanging.so")).unwrap();
    let report = check_done(&host.reload_host());
    assert_eq!((changed(&report), &report["plugins"][0]["generation"]), (vec!["changing"], &json!(null)));
    assert_eq!(host.call(BUILD, &json!({})).problem().0, 404);
    host.put_build(Build::new(3));
    check_done(&host.reload_host());
    check_serves(&host, Build::new(3));
    check_done(&host.admin_post("plugins/demo/unload", &json!({})));
    assert_eq!(changed(&check_done(&host.reload_host())), ["demo"], "its file is there");
}

#[test]
fn one_bad_thing_keeps_everything_as_it_was() {
    let host = host().plugin("demo").config("[reload]\nstart_timeout_ms = 2000").start();
    let config = fs::read_to_string(host.folder().join("config.toml")).unwrap();
    let closed = format!("{config}[auth]\nrules = {{ \"/api/v1/*\" = [\"a-key-of-callers\"] }}\n");
    let check = |step: &str, part: &str| {
        let (found, detail) = check_refused(&host.reload_host(), 422, "reload_failed");
        assert_eq!(found, step, "{detail}");
        assert!(detail.contains(part), "{detail}");
        // Neither the build nor the key is in force.
        check_serves(&host, Build::new(1));
        assert_eq!((generation(&host, "changing"), generation(&host, "demo")), (1, 1));
    };
    host.put_config(&closed);
    host.put_build(Build::new(2));
    host.put("libgarbage.so", b"garbage");
    check("load", "`libgarbage.so`");
    fs::remove_file(host.plugins().join("libgarbage.so")).unwrap();
    for (start, part) in [(b'f', "this build fails"), (b'p', "panicked"), (b'h', "within 2000 ms")] {
        host.put_build(Build::new(2).start(start));
        check("start", part);
    }
    host.put_build(Build::new(2).shape(b'c'));
    check("publish", "`changing.functions.typed`");
    host.put_build(Build::new(2));
    host.put_config(&format!("{closed}[server]\nprot = 1\n"));
    check("config", "unknown key `server.prot`");
    host.put_config(&closed.replace("a-key-of-callers", "env:MISSING"));
    check("config", "`MISSING`");
    // What had been started was stopped and unmapped again, but for the one that still starts.
    until("all is unmapped", || host.mapped_copies().len() == 3);

    host.put_config(&closed);
    check_done(&host.reload_host());
    assert_eq!(host.call(BUILD, &json!({})).status, 401);
    let headers = [("authorization", "a-key-of-callers"), ("content-type", "application/json")];
    let url = format!("{}/api/v1/functions/{BUILD}", host.url());
    assert_eq!(send("POST", &url, &headers, b"{}").json(), super::of_build(Build::new(2)));
}

#[test]
fn a_plugin_whose_config_changed_is_started_again() {
    let host = host().plugin("demo").start();
    let config = fs::read_to_string(host.folder().join("config.toml")).unwrap();
    host.put_config(&format!("{config}[plugins.changing]\nrelease = \"other\"\n"));
    let report = check_done(&host.reload_host());
    assert_eq!((changed(&report), &report["unchanged"]), (vec!["changing"], &json!(["demo"])));
    // A rollback stands, regardless of the files in the directory.
    host.put_build(Build::new(2));
    check_done(&host.reload_host());
    check_done(&host.admin_post("plugins/changing/rollback", &json!({})));
    check_serves(&host, Build::new(1));
    assert_eq!(changed(&check_done(&host.reload_host())), [""; 0]);
    host.put_config(&config);
    assert_eq!(changed(&check_done(&host.reload_host())), ["changing"]);
    check_serves(&host, Build::new(1));
    host.put_config(&format!("{config}[plugins.changing]\nunheard_of = 1\n"));
    let (step, detail) = check_refused(&host.reload_host(), 422, "reload_failed");
    assert_eq!(step, "start");
    assert!(detail.contains("unheard_of"), "{detail}");
    check_serves(&host, Build::new(1));
}

#[test]
fn keys_that_need_a_restart_are_named_and_the_others_apply() {
    let host = host().start();
    let config = fs::read_to_string(host.folder().join("config.toml")).unwrap();
    host.put_config(&format!(
        "{config}host_id = \"other\"\n[server]\nbody_bytes_max = 1024\nheader_timeout_ms = 77\n"
    ));
    let body = json!({ "text": "x".repeat(2000) });
    assert_ne!(host.call(BUILD, &body).status, 413);
    for _ in 0..2 {
        let report = check_done(&host.reload_host());
        assert_eq!(report["restart_required"], json!(["host_id", "server.header_timeout_ms"]));
        assert!(report["warnings"].to_string().contains("`host_id` was changed"), "{report}");
        assert_eq!(host.call(BUILD, &body).status, 413);
    }
}

#[test]
fn peers_and_routes_change_while_calls_go_on() {
    let host = sealed(host()).start();
    let other = sealed(Daemon::builder()).build(Build::new(9)).start();
    let here = fs::read_to_string(host.folder().join("config.toml")).unwrap();
    let url = other.url();
    let there = format!(
        "{here}plugins.proxy.proxy_urls = [{url:?}]\nplugins.proxy.proxy_functions.{url:?} = [{BUILD:?}]\n"
    );
    let load = Load::start(&[(host.url(), BUILD), (host.url(), BUILD), (host.url(), BUILD)]);
    for round in 0..20 {
        let (config, serves) = if round % 2 == 0 { (&there, 9) } else { (&here, 1) };
        host.put_config(config);
        check_done(&host.reload_host());
        check_serves(&host, Build::new(serves));
        load.pass(20);
    }
    let tally = load.stop();
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);
    assert_eq!(tally.builds.len(), 2, "both have served: {:?}", tally.builds);
}

#[test]
fn sighup_and_the_command_line_ask_for_it_too() {
    let host = host().start();
    host.put_build(Build::new(2));
    host.signal("HUP");
    until("build 2 serves", || host.call(BUILD, &json!({})).json() == super::of_build(Build::new(2)));
    host.wait_for_log("SIGHUP");
    host.put_build(Build::new(3));
    let exit = host.run(&["reload"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.starts_with("changing: generation 3 serves instead of 2\n"), "{}", exit.stdout);
    check_serves(&host, Build::new(3));
    host.put_build(Build::new(4).shape(b'c'));
    let exit = host.run(&["--output", "json", "reload"]);
    assert_eq!(exit.code, Some(1));
    let json: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(
        (&json["code"], &json["failed_plugins"][0]["plugin"]),
        (&json!("reload_failed"), &json!("changing"))
    );
    assert_eq!(host.run(&["reload", "--allow-breaking"]).code, Some(0));
    host.stop();
}
