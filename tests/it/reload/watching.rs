//! `[reload] watch = true`.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use framex_tests::{Build, Daemon, send, until};
use serde_json::json;

use super::{BUILD, check_serves, host, of_build};

fn watching() -> Daemon {
    let host = host().config("[reload]\nwatch = true").start();
    host.wait_for_log("watching");
    host
}

#[track_caller]
fn until_serves(host: &Daemon, build: Build) {
    until("the build serves", || host.call(BUILD, &json!({})).json() == of_build(build));
}

#[test]
fn a_new_build_is_loaded_once_it_is_complete() {
    let host = watching();
    host.put_build(Build::new(2));
    until_serves(&host, Build::new(2));
    // Written in place, in parts, with pauses that are longer than the watcher waits.
    let bytes = Build::new(3).bytes();
    let mut file = File::create(host.plugins().join("libchanging.so")).unwrap();
    for part in bytes.chunks(bytes.len() / 3 + 1) {
        file.write_all(part).unwrap();
        file.flush().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(600);
        while std::time::Instant::now() < until {
            check_serves(&host, Build::new(2));
        }
    }
    drop(file);
    until_serves(&host, Build::new(3));
    assert!(!host.log().contains("is not in force"), "{}", host.log());
    assert_eq!(host.plugin_status("changing")["generation"], 3);
}

#[test]
fn a_bad_build_is_named_and_not_tried_again() {
    let host = watching();
    host.put_build(Build::new(2).start(b'f'));
    host.wait_for_log("what was changed is not in force");
    let config = fs::read_to_string(host.folder().join("config.toml")).unwrap();
    host.put_config(&format!("{config}[auth]\nrules = {{ \"/api/v1/*\" = [\"a-key\"] }}\n"));
    until("the key is needed", || host.call(BUILD, &json!({})).status == 401);
    host.put_config(&config);
    until("no key is needed", || host.call(BUILD, &json!({})).status == 200);
    check_serves(&host, Build::new(1));
    host.put_build(Build::new(3));
    until_serves(&host, Build::new(3));
}

#[test]
fn a_file_that_is_gone_does_not_withdraw_its_plugin() {
    let host = watching();
    fs::remove_file(host.plugins().join("libchanging.so")).unwrap();
    host.wait_for_log("the file of plugin `changing` is gone");
    check_serves(&host, Build::new(1));
    fs::copy(framex_tests::plugin_file("demo"), host.plugins().join("libdemo.so")).unwrap();
    until("the new plugin is there", || host.get("/ready").json()["plugins"] == json!(["changing", "demo"]));
    host.put_build(Build::new(2));
    until_serves(&host, Build::new(2));
}

#[test]
fn secrets_and_the_watching_itself_are_watched() {
    let host = host().start();
    let config = fs::read_to_string(host.folder().join("config.toml")).unwrap();
    fs::create_dir(host.folder().join("secrets")).unwrap();
    fs::write(host.folder().join("secrets/web.key"), "first").unwrap();
    let rules = "[auth]\nrules = { \"/api/v1/*\" = [\"file:secrets/web.key\"] }\n";
    host.put_config(&format!("{config}{rules}[reload]\nwatch = true\n"));
    assert_eq!(host.reload_host().status, 200);
    host.wait_for_log("watching");
    let status = |key: &str| {
        let headers = [("authorization", key), ("content-type", "application/json")];
        send("POST", &format!("{}/api/v1/functions/{BUILD}", host.url()), &headers, b"{}").status
    };
    assert_eq!((status("first"), status("second")), (200, 401));
    fs::write(host.folder().join("secrets/web.key"), "second").unwrap();
    until("the second key opens", || status("second") == 200);
    assert_eq!(status("first"), 401);
}

#[test]
fn the_token_of_the_admin_listener_is_watched() {
    let builder = host().config("admin = { listen = \"127.0.0.1:0\", token = \"file:admin.token\" }");
    let (first, second) = ("canary-of-the-first-token", "canary-of-the-second-token");
    fs::write(builder.folder().join("admin.token"), first).unwrap();
    let host = builder.config("[reload]\nwatch = true\n").start();
    // Once, for what changed before it was watched.
    let _first = host.logged("reloaded");
    let address = host.admin_address();
    let status = |token: &str| {
        let head = format!("GET /admin/v1/plugins HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        host.admin_raw(format!("{head}authorization: {token}\r\n\r\n")).status
    };
    assert_eq!((status(first), status(second)), (200, 401));
    fs::write(host.folder().join("admin.token"), second).unwrap();
    until("the second token opens", || status(second) == 200);
    assert_eq!(status(first), 401);
}

#[test]
fn a_plugin_directory_that_is_not_there_yet_keeps_nothing_else_from_being_watched() {
    let builder = Daemon::builder().config("[reload]\nwatch = true\n");
    let plugins = builder.plugins();
    fs::create_dir_all(&plugins).unwrap();
    fs::remove_dir(&plugins).unwrap();
    let host = builder.start();
    // Once, for what changed before it was watched.
    let _first = host.logged("reloaded");
    let config = fs::read_to_string(host.folder().join("config.toml")).unwrap();
    host.put_config(&format!("{config}[auth]\nrules = {{ \"/api/v1/*\" = [\"a-key\"] }}\n"));
    until("the key is needed", || host.call(BUILD, &json!({})).status == 401);
    host.put_config(&config);
    until("no key is needed", || host.call(BUILD, &json!({})).status == 404);
    // It comes, goes, and comes once more.
    for number in 1..3 {
        fs::create_dir(&plugins).unwrap();
        host.put_build(Build::new(number));
        until_serves(&host, Build::new(number));
        if number == 1 {
            let watching = || host.log().matches("\"watching\"").count();
            until("it is watched", || watching() >= 2);
            fs::remove_dir_all(&plugins).unwrap();
            until("it is seen to be gone", || watching() >= 3);
        }
    }
    assert!(!host.log().contains("cannot be watched"), "{}", host.log());
}

/// Lays files out as Kubernetes mounts a volume: each is a link over `..data`, which leads to the folder of today.
fn mount_volume(folder: &Path, day: u32, files: &[(&str, &[u8])]) {
    let of_day = folder.join(format!("..{day}"));
    fs::create_dir_all(&of_day).unwrap();
    for (name, bytes) in files {
        fs::write(of_day.join(name), bytes).unwrap();
        let link = folder.join(name);
        if !link.is_symlink() {
            symlink(format!("..data/{name}"), link).unwrap();
        }
    }
    symlink(format!("..{day}"), folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if day > 1 {
        fs::remove_dir_all(folder.join(format!("..{}", day - 1))).unwrap();
    }
}

#[test]
fn plugins_keys_and_the_config_may_be_a_mounted_volume() {
    let builder = Daemon::builder().config("plugin_dir = \"here/plugins\"");
    let root = builder.folder().to_owned();
    let volume = root.join("volumes/plugins");
    fs::create_dir_all(root.join("volumes/keys")).unwrap();
    fs::create_dir_all(&volume).unwrap();
    // Over links to folders as well.
    symlink("volumes", root.join("here")).unwrap();
    let file = "libchanging.so";
    mount_volume(&volume, 1, &[(file, &Build::new(1).bytes())]);
    mount_volume(&root.join("volumes/keys"), 1, &[("web.key", b"first")]);
    let rules = "[auth]\nrules = { \"/api/v1/*\" = [\"file:here/keys/web.key\"] }\n[reload]\nwatch = true\n";
    let host = builder.config(rules).start();
    let _first = host.logged("reloaded");
    let answer = |key: &str| {
        let headers = [("authorization", key), ("content-type", "application/json")];
        send("POST", &format!("{}/api/v1/functions/{BUILD}", host.url()), &headers, b"{}")
    };
    assert_eq!(answer("first").json(), of_build(Build::new(1)), "{}", host.log());
    for day in 2..4 {
        mount_volume(&volume, day, &[(file, &Build::new(day).bytes())]);
        until("the build of the day serves", || answer("first").json() == of_build(Build::new(day)));
    }
    mount_volume(&root.join("volumes/keys"), 2, &[("web.key", b"second")]);
    until("the second key opens", || answer("second").status == 200);
    assert_eq!(answer("first").status, 401);
    // The folder of the volumes is exchanged as a whole.
    let others = root.join("others");
    fs::create_dir_all(others.join("keys")).unwrap();
    fs::create_dir_all(others.join("plugins")).unwrap();
    mount_volume(&others.join("plugins"), 1, &[(file, &Build::new(7).bytes())]);
    mount_volume(&others.join("keys"), 1, &[("web.key", b"second")]);
    symlink("others", root.join("there")).unwrap();
    fs::rename(root.join("there"), root.join("here")).unwrap();
    until("the other build serves", || answer("second").json() == of_build(Build::new(7)));
    mount_volume(&others.join("plugins"), 2, &[(file, &Build::new(8).bytes())]);
    until("what comes there later serves", || answer("second").json() == of_build(Build::new(8)));
    host.stop();
}

#[test]
fn a_directory_that_another_one_replaces_is_watched_from_then_on() {
    let host = watching();
    let _first = host.logged("reloaded");
    let new = host.folder().join("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("libchanging.so"), Build::new(2).bytes()).unwrap();
    fs::rename(host.plugins(), host.folder().join("old")).unwrap();
    fs::rename(&new, host.plugins()).unwrap();
    until_serves(&host, Build::new(2));
    host.put_build(Build::new(3));
    until_serves(&host, Build::new(3));
    host.stop();
}

/// A file that is not the host's, in a folder that it watches, does not trigger a reload.
#[test]
fn other_files_in_the_directory_are_ignored() {
    let host = watching();
    let _first = host.logged("reloaded");
    for number in 0..20 {
        fs::write(host.folder().join(format!("other-{number}")), "text").unwrap();
        fs::write(host.plugins().join(format!("other-{number}.txt")), "text").unwrap();
    }
    host.put_build(Build::new(2));
    until_serves(&host, Build::new(2));
    let reloads = || host.log().matches("\"reloaded\"").count();
    until("the reload is over", || reloads() >= 2);
    assert_eq!(reloads(), 2, "{}", host.log());
    host.stop();
}
