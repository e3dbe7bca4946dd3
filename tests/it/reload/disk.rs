//! A state directory that takes no more copies: the reload is refused, and the build that served goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use framex_tests::{Build, Daemon, run_to_end};

use super::{check_done, check_mapped, check_refused, check_serves, host};

/// Checks that a reload fails while it copies, and leaves nothing.
fn check_refuses_copies(host: &Daemon) {
    let staged = || fs::read_dir(host.folder().join("state/staged")).map(Iterator::count).unwrap_or_default();
    let before = staged();
    host.put_build(Build::new(2));
    for _ in 0..3 {
        let (step, detail) = check_refused(&host.reload("changing"), 422, "reload_failed");
        assert_eq!(step, "stage", "{detail}");
        assert!(detail.contains("cannot be copied to the state directory"), "{detail}");
        check_serves(host, Build::new(1));
    }
    assert_eq!(staged(), before, "half a copy was left");
    check_mapped(host, 1);
}

#[test]
fn a_copy_that_does_not_fit_is_refused() {
    let host = host().start();
    // Limits the size of any file that the daemon writes: the system answers as for a full disk, with an error.
    let limit = |bytes: &str| {
        let pid = host.pid().to_string();
        let exit = run_to_end(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]));
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    };
    limit("65536");
    check_refuses_copies(&host);
    limit("unlimited");
    check_done(&host.reload("changing"));
    check_serves(&host, Build::new(2));
    host.stop();
}

#[test]
fn a_state_directory_that_is_gone_or_read_only_is_named() {
    let host = host().start();
    let folder = host.folder().join("state/staged");
    // Nothing can be made in a folder that is a file, not even by root, whom permissions do not stop.
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    check_refuses_copies(&host);
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();

    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write there all the same: then there is nothing to see.
    if fs::write(folder.join("probe"), "").is_err() {
        check_refuses_copies(&host);
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    check_done(&host.reload("changing"));
    check_serves(&host, Build::new(2));
}
