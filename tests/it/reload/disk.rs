//! A state directory that takes no more copies: the reload is refused, and the build that served goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use framex_tests::{Build, Daemon, Mounts, broken, run_to_end};
use serde_json::json;

use super::load::Load;
use super::{BUILD, check_done, check_mapped, check_refused, check_serves, host};

/// Checks that reloads fail while they copy, for this reason, and leave nothing; then, that one is done after `repair`.
/// No call of the plugin notices any of it.
fn check_refuses_copies(host: &Daemon, reason: &str, repair: impl FnOnce()) {
    let staged = || fs::read_dir(host.seen("state/staged")).map(Iterator::count).unwrap_or_default();
    let before = staged();
    let load = Load::start(&[(host.url(), BUILD)]);
    load.pass(5);
    host.put_build(Build::new(2));
    let sentence = format!("plugin file `libchanging.so` cannot be copied to the state directory: {reason}");
    for _ in 0..3 {
        let (step, detail) = check_refused(&host.reload("changing"), 422, "reload_failed");
        assert_eq!((step.as_str(), detail.as_str()), ("stage", sentence.as_str()));
        check_serves(host, Build::new(1));
    }
    assert_eq!(staged(), before, "half a copy was left");
    check_mapped(host, 1);
    repair();
    load.pass(5);
    check_done(&host.reload("changing"));
    check_serves(host, Build::new(2));
    load.pass(5);
    let tally = load.stop();
    assert!(tally.failed.is_empty(), "{:?}\n{}", tally.failed, host.log());
    assert!(tally.builds.len() == 2, "{:?}", tally.builds);
    check_mapped(host, 1);
}

#[test]
fn a_copy_that_does_not_fit_is_refused() {
    let host = host().start();
    // Limits the size of any file that the daemon writes.
    let limit = |bytes: &str| {
        let pid = host.pid().to_string();
        let exit = run_to_end(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]));
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    };
    limit("65536");
    check_refuses_copies(&host, "File too large (os error 27)", || limit("unlimited"));
    host.stop();
}

#[test]
fn a_disk_that_is_full_is_named() {
    let Some(mounts) = Mounts::or_skip() else { return };
    // Once the first build is there, 64 KiB are left.
    let kib = Build::new(1).bytes().len().div_ceil(4096) * 4 + 64;
    let host = host().mount(&mounts, &format!("mount -t tmpfs -o mode=700,size={kib}k tmpfs state")).start();
    let enlarge = || host.mount(&mounts, "mount -o remount,size=256m tmpfs state");
    check_refuses_copies(&host, "No space left on device (os error 28)", enlarge);
    host.stop();
}

#[test]
fn on_a_disk_of_64_kib_what_fits_serves() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let host = host()
        .plugin_bytes("libtiny.so", &broken::c_plugin())
        .mount(&mounts, "mount -t tmpfs -o mode=700,size=64k tmpfs state")
        .start();
    let full = |file: &str| {
        format!(
            "plugin file `{file}` cannot be copied to the state directory: No space left on device (os error 28)"
        )
    };
    let check_tiny = |generation: u64| {
        let argument = json!({ "id": 7 });
        assert_eq!(host.call("tiny.echo", &argument).json(), argument);
        assert_eq!(host.plugin_status("tiny")["generation"], generation);
        check_mapped(&host, 1);
    };
    assert_eq!(host.failure("libchanging.so"), Some(full("libchanging.so")));
    check_tiny(1);
    let load = json!({ "file": "libchanging.so" });
    let (step, detail) = check_refused(&host.admin_post("plugins", &load), 422, "reload_failed");
    assert_eq!((step.as_str(), detail), ("stage", full("libchanging.so")));
    check_tiny(1);
    // What follows the sections of a library is not looked at.
    host.put("libtiny.so", &[broken::c_plugin(), vec![0; 64 << 10]].concat());
    let (step, detail) = check_refused(&host.reload("tiny"), 422, "reload_failed");
    assert_eq!((step.as_str(), detail), ("stage", full("libtiny.so")));
    check_tiny(1);

    host.mount(&mounts, "mount -o remount,size=256m tmpfs state");
    check_done(&host.reload("tiny"));
    check_tiny(2);
    check_done(&host.admin_post("plugins", &load));
    check_serves(&host, Build::new(1));
    host.stop();
}

/// Starts a daemon with the state of an earlier one on a disk that is full. That disk ends with the daemon.
fn start_on_a_full_disk(earlier: Daemon, mounts: &Mounts) -> Daemon {
    let script = "cp -a state saved && mount -t tmpfs -o mode=700,size=64m tmpfs state && cp -a saved/. state \
                  && rm -r saved && (cat /dev/zero > state/ballast; ! echo more > state/probe) 2> /dev/null";
    earlier.end().mount(mounts, script).start()
}

#[test]
fn a_start_on_a_full_disk_serves_what_served_before() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let host = host().start();
    host.put_build(Build::new(2));
    check_done(&host.reload("changing"));
    let copies = |host: &Daemon| fs::read_dir(host.seen("state/staged")).unwrap().count();
    let before = copies(&host);
    let host = start_on_a_full_disk(host, &mounts);
    check_serves(&host, Build::new(2));
    assert_eq!(host.plugin_status("changing")["generation"], 2);
    assert_eq!(copies(&host), before, "neither copied nor lost");
    // An earlier build is staged again by a rollback, for which there is no room.
    let rollback = host.admin_post("plugins/changing/rollback", &json!({}));
    let (step, detail) = check_refused(&rollback, 422, "reload_failed");
    assert!(step == "stage" && detail.contains("No space left on device"), "{step}: {detail}");
    check_serves(&host, Build::new(2));
    host.mount(&mounts, "rm state/ballast");
    check_done(&host.admin_post("plugins/changing/rollback", &json!({})));
    check_serves(&host, Build::new(1));
    host.stop();
}

#[test]
fn a_start_on_a_full_disk_serves_what_served_although_the_file_is_another_one() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let host = host().start();
    check_serves(&host, Build::new(1));
    host.put_build(Build::new(2));
    let host = start_on_a_full_disk(host, &mounts);
    check_serves(&host, Build::new(1));
    assert!(
        host.failure("libchanging.so").is_some_and(|failure| failure.contains("No space left on device"))
    );
    host.mount(&mounts, "rm state/ballast");
    check_done(&host.reload("changing"));
    check_serves(&host, Build::new(2));
    host.stop();
}

#[test]
fn a_state_directory_that_became_read_only_is_named() {
    let Some(mounts) = Mounts::or_skip() else { return };
    let host = host().mount(&mounts, "true").start();
    // The lock is open for writing on what is below, so that itself cannot be made read-only.
    host.mount(&mounts, "mount --bind state state && mount -o remount,bind,ro state");
    let reason = "Read-only file system (os error 30)";
    check_refuses_copies(&host, reason, || host.mount(&mounts, "umount state"));
    host.stop();
}

#[test]
fn a_folder_of_copies_that_is_gone_or_may_not_be_written_is_named() {
    let host = host().start();
    let folder = host.folder().join("state/staged");
    // Nothing can be made in a folder that is a file, not even by root, whom permissions do not stop.
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    check_refuses_copies(&host, "Not a directory (os error 20)", || {
        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
    });

    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write there all the same: then there is nothing to see.
    if fs::write(folder.join("probe"), "").is_err() {
        let (step, detail) = check_refused(&host.reload("changing"), 422, "reload_failed");
        assert!(step == "stage" && detail.ends_with("Permission denied (os error 13)"), "{step}: {detail}");
        check_serves(&host, Build::new(2));
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    check_done(&host.reload("changing"));
    check_serves(&host, Build::new(2));
}
