//! Old generations that leave something behind: no crash, and what stays mapped is counted, with the reason.

use std::fs;
use std::ops::RangeInclusive;

use framex_tests::{Build, until};
use serde_json::json;

use super::{check_done, check_mapped, check_serves, host, of_build};

/// A hundred builds that each leave this behind, one after the other.
fn check_nothing_stays(leaves: u8) {
    let host = host().start();
    let mut threads = 0;
    for number in 2..=101 {
        host.put_build(Build::new(number).leaves(leaves));
        check_done(&host.reload("changing"));
        check_serves(&host, Build::new(number));
        if number == 2 {
            threads = host.threads();
        }
    }
    assert_eq!(host.plugin_status("changing")["zombies"], json!([]));
    check_mapped(&host, 1);
    // Threads of the host's own blocking pool come and go, far fewer than a hundred.
    assert!(host.threads() < threads + 10, "{} of {threads} threads", host.threads());
    host.stop();
}

#[test]
fn tasks_that_never_end_are_ended() {
    check_nothing_stays(b'k');
}

#[test]
fn timers_are_ended() {
    check_nothing_stays(b'm');
}

#[test]
fn threads_that_still_run_keep_their_libraries_and_are_counted() {
    // The host waits half a second for each library before it counts it; four plugins wait side by side.
    const PLUGINS: [&str; 4] = ["changing", "changin2", "changin3", "changin4"];
    let build = |plugin, number| Build::new(number).of_plugin(plugin);
    let host = host().config("reload.zombies_max = 95");
    let release = host.folder().join("release");
    let host = PLUGINS.into_iter().fold(host, |host, plugin| {
        host.config(&format!("plugins.{plugin}.release = {release:?}")).build(build(plugin, 1))
    });
    let host = host.start();
    let reload = |plugin, build: Build| {
        host.put_build(build);
        check_done(&host.reload(plugin));
        let answer = host.call(&format!("{plugin}.functions.build"), &json!({}));
        assert_eq!((answer.status, answer.json()), (200, of_build(build)), "{}", host.log());
    };
    let reload_all = |numbers: RangeInclusive<u32>| {
        std::thread::scope(|scope| {
            for plugin in PLUGINS {
                let numbers = numbers.clone();
                let reload = &reload;
                scope.spawn(move || {
                    numbers.for_each(|number| reload(plugin, build(plugin, number).leaves(b't')));
                });
            }
        });
    };
    // The first generation has no thread, and the last one serves.
    reload_all(2..=25);
    assert_eq!(host.get("/ready").json()["warnings"], json!([]), "92 are no more than 95");
    reload_all(26..=26);
    let warnings = host.get("/ready").json()["warnings"].clone();
    assert!(warnings.to_string().contains("96 retired plugin libraries are still mapped"), "{warnings}");
    for plugin in PLUGINS {
        let zombies = host.plugin_status(plugin)["zombies"].as_array().cloned().unwrap();
        let generations = zombies.iter().map(|zombie| zombie["generation"].as_u64().unwrap());
        assert_eq!(generations.collect::<Vec<u64>>(), (2..=25).collect::<Vec<_>>());
        for zombie in &zombies {
            let reason = zombie["reason"].as_str().unwrap();
            assert!(reason.contains("a thread of the plugin that still runs"), "{zombie}");
            assert!(zombie["mapped_bytes"].as_u64() > Some(0), "{zombie}");
        }
    }
    check_mapped(&host, 100);

    // When the threads end, the libraries can go: at the latest with the next change.
    assert_eq!(host.threads_named("left-behind"), 100);
    fs::write(&release, "").unwrap();
    until("the threads have ended", || host.threads_named("left-behind") == 0);
    reload("changing", build("changing", 40));
    for plugin in PLUGINS {
        assert_eq!(host.plugin_status(plugin)["zombies"], json!([]));
    }
    check_mapped(&host, 4);
    assert_eq!(host.get("/ready").json()["warnings"], json!([]));
    host.stop();
}

#[test]
fn a_replaced_build_is_unmapped_on_every_way_to_the_state_directory() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("real/state")).unwrap();
    fs::create_dir(folder.path().join("beside")).unwrap();
    std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
    // Through another folder, and through a link on the way.
    for way in ["beside/../real/state", "link/state"] {
        let state = format!("state_dir = {:?}", folder.path().join(way));
        let host = host().config(&state).config("admin.socket = \"state/admin.sock\"");
        // Where tests look for the socket.
        fs::create_dir(host.folder().join("state")).unwrap();
        let host = host.start();
        for number in 2..8 {
            host.put_build(Build::new(number));
            check_done(&host.reload("changing"));
        }
        let maps = fs::read_to_string(format!("/proc/{}/maps", host.pid())).unwrap();
        let copies = |line: &&str| line.contains("/state/staged/");
        let files: std::collections::BTreeSet<_> =
            maps.lines().filter(copies).filter_map(|line| line.splitn(6, ' ').nth(5)).collect();
        assert_eq!(files.len(), 1, "{way}: {files:?}");
        let shown = host.plugin_status("changing");
        assert_eq!(shown["zombies"], json!([]), "{shown}");
        assert!(shown["mapped_bytes"].as_u64() > Some(0), "{shown}");
        host.stop();
    }
}
