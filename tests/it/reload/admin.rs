//! The admin API's JSON, its socket, and its audit log.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use framex_tests::{Build, Daemon, FreeAddress, frames};
use serde_json::{Value, json};

use super::{BUILD, check_done, check_refused, host};

#[track_caller]
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_plugins_are_listed_as_scripts_expect() {
    let host = host().plugin("demo").start();
    host.put_build(Build::new(2));
    let reloaded = check_done(&host.reload("changing"));
    let all = host.admin_get("plugins").json();
    let names: Vec<&Value> =
        all["plugins"].as_array().unwrap().iter().map(|plugin| &plugin["name"]).collect();
    assert_eq!(names, ["changing", "demo"]);
    let plugin = &all["plugins"][0];
    for key in [
        "name",
        "version",
        "state",
        "generation",
        "sha256",
        "file",
        "functions",
        "in_flight",
        "mapped_bytes",
        "zombies",
        "published_at",
    ] {
        assert!(plugin.get(key).is_some(), "{key} is missing: {plugin}");
    }
    assert_eq!(plugin["state"], "published");
    assert_eq!((&plugin["version"], &plugin["generation"]), (&json!("0.1.0"), &json!(2)));
    assert_eq!((&plugin["in_flight"], &plugin["zombies"]), (&json!(0), &json!([])));
    assert_eq!(plugin["file"], "libchanging.so");
    assert_eq!(plugin["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(plugin["sha256"], reloaded["sha256"]);
    assert!(plugin["functions"].as_array().unwrap().contains(&json!(BUILD)), "{plugin}");
    assert!(plugin["mapped_bytes"].as_u64() > Some(100_000), "{plugin}");
    let time = plugin["published_at"].as_str().unwrap();
    assert!(time.len() == 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    assert_eq!(host.plugin_status("changing")["sha256"], plugin["sha256"]);
    check_refused(&host.admin_get("plugins/none"), 404, "not_found");
}

#[test]
fn a_reload_answers_each_step_and_its_time() {
    let host = host().start();
    let done = check_done(&host.reload("changing"));
    assert_eq!(keys(&done), ["cancelled_calls", "generation", "plugin", "previous", "sha256", "steps"]);
    let steps = done["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["stage", "probe", "load", "start", "commit", "publish", "drain", "stop", "retire"]);
    assert!(steps.iter().all(|step| step["ms"].as_f64() >= Some(0.0)), "{steps:?}");
}

#[test]
fn functions_peers_and_reasons_are_shown() {
    let nowhere = FreeAddress::find().url();
    let routes = format!(
        "plugins.proxy.proxy_urls = [{nowhere:?}]\nplugins.proxy.proxy_functions.{nowhere:?} = [\"far.f\"]\n"
    );
    let host = host().config(&routes).config(&frames::rules(&[frames::SECRET])).start();
    let functions = host.admin_get("functions").json();
    let build = functions["functions"].as_array().unwrap().iter().find(|function| function["name"] == BUILD);
    assert_eq!(
        build.unwrap(),
        &json!({"name": BUILD, "plugin": "changing", "generation": 1, "runs": "local", "limit": null, "plugin_limit": null})
    );
    let peers = host.admin_get("peers").json();
    assert_eq!(peers["peers"][0]["url"], nowhere);
    assert_eq!(peers["peers"][0]["has_key"], true);
    for (function, runs, peer) in
        [(BUILD, "local", Value::Null), ("far.f", "peer", json!(nowhere)), ("no.f", "nowhere", Value::Null)]
    {
        let explained = host.admin_get(&format!("explain/{function}")).json();
        assert_eq!((&explained["function"], &explained["runs"]), (&json!(function), &json!(runs)));
        assert_eq!(explained["peer"], peer, "{explained}");
        assert!(explained["because"].as_array().is_some_and(|steps| !steps.is_empty()), "{explained}");
    }
}

#[test]
fn every_change_is_a_line_of_the_audit_log() {
    let host = host().start();
    let uid = fs::metadata(host.folder()).map(|folder| std::os::unix::fs::MetadataExt::uid(&folder)).unwrap();
    let done = check_done(&host.reload("changing"));
    host.put_build(Build::new(2).start(b'f'));
    check_refused(&host.reload("changing"), 422, "reload_failed");
    check_done(&host.admin_post("plugins/changing/rollback", &json!({})));
    check_done(&host.admin_post("plugins/changing/unload", &json!({})));
    host.wait_for_log("\"action\":\"unload\"");
    let log = host.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let audit: Vec<&Value> = lines.iter().filter(|line| line["target"] == "audit").collect();
    let actions: Vec<&Value> = audit.iter().map(|line| &line["action"]).collect();
    assert_eq!(actions, ["reload", "reload", "rollback", "unload"], "{audit:?}");
    assert!(audit.iter().all(|line| line["uid"] == uid && line["plugin"] == "changing"), "{audit:?}");
    assert_eq!((&audit[0]["result"], &audit[0]["sha256"]), (&json!("done"), &done["sha256"]));
    assert_eq!(audit[1]["step"], "start");
    assert!(audit[1]["result"].as_str().unwrap().contains("this build fails when it starts"));
}

#[test]
fn the_socket_is_the_users_own_and_never_taken_from_a_host_that_lives() {
    let first = host().start();
    let socket = first.admin_socket();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let said = format!("admin.socket = {socket:?}");
    let second = Daemon::builder().config(&said).run_to_end();
    assert_eq!(second.code, Some(2), "{}", second.stderr);
    assert!(second.stderr.contains("another host listens on it"), "{}", second.stderr);
    assert_eq!(first.reload("changing").status, 200, "the first one goes on");

    let builder = host();
    fs::create_dir(builder.folder().join("state")).unwrap();
    let socket = builder.folder().join("state/admin.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "what a host that was killed leaves");
    let host = builder.start();
    assert_eq!(host.reload("changing").status, 200);
    host.stop();
    assert!(!socket.exists());
}
