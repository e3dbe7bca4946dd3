//! Old generations that leave something behind: no crash, and what stays mapped is counted, with the reason.

use std::fs;

use framex_tests::Build;
use serde_json::json;

use super::{check_done, check_mapped, check_serves, host, until};

/// Thirty builds that each leave this behind, one after the other.
fn check_nothing_stays(leaves: u8) {
    let host = host().start();
    let mut threads = 0;
    for number in 2..=31 {
        host.put_build(Build::new(number).leaves(leaves));
        check_done(&host.reload("changing"));
        check_serves(&host, Build::new(number));
        if number == 2 {
            threads = host.threads();
        }
    }
    assert_eq!(host.plugin_status("changing")["zombies"], json!([]));
    check_mapped(&host, 1);
    // Threads of the host's own blocking pool come and go, far fewer than thirty.
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
fn a_thread_that_still_runs_keeps_its_library_and_is_counted() {
    let host = host().config("reload.zombies_max = 5");
    let release = host.folder().join("release");
    let host = host.config(&format!("plugins.changing.release = {release:?}")).start();
    for number in 2..=31 {
        host.put_build(Build::new(number).leaves(b't'));
        check_done(&host.reload("changing"));
        check_serves(&host, Build::new(number));
        // The first retired one has no thread.
        let count = number as usize - 2;
        let warnings = host.get("/ready").json()["warnings"].clone();
        assert_eq!(warnings.as_array().map(Vec::len), Some(usize::from(count > 5)), "{count}: {warnings}");
    }
    let warnings = host.get("/ready").json()["warnings"].to_string();
    assert!(warnings.contains("29 retired plugin libraries are still mapped"), "{warnings}");
    let zombies = host.plugin_status("changing")["zombies"].as_array().cloned().unwrap();
    let generations: Vec<u64> = zombies.iter().map(|zombie| zombie["generation"].as_u64().unwrap()).collect();
    assert_eq!(generations, (2..=30).collect::<Vec<_>>());
    for zombie in &zombies {
        let reason = zombie["reason"].as_str().unwrap();
        assert!(reason.contains("a thread of the plugin that still runs"), "{zombie}");
        assert!(zombie["mapped_bytes"].as_u64() > Some(0), "{zombie}");
    }
    check_mapped(&host, 30);

    // When the threads end, the libraries can go: at the latest with the next change.
    let threads = host.threads();
    fs::write(&release, "").unwrap();
    until("the threads have ended", || host.threads() <= threads - 29);
    host.put_build(Build::new(40));
    check_done(&host.reload("changing"));
    check_serves(&host, Build::new(40));
    assert_eq!(host.plugin_status("changing")["zombies"], json!([]));
    check_mapped(&host, 1);
    assert_eq!(host.get("/ready").json()["warnings"], json!([]));
    host.stop();
}
