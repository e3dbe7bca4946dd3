//! Write access to the plugin directory and its files, and invalid signature files.

use std::process::Command;

use framex_tests::{Build, Daemon};
use serde_json::json;

use super::{FILE, SIGNATURE, Signer, check_done, check_refused, check_serves, host, set_mode};

const DIRECTORY: &str = "can be changed by every user of this machine, which [trust] rules out: `chmod o-w ";

#[test]
fn a_world_writable_directory_is_refused_with_trust() {
    let signer = Signer::new();
    for mode in [0o777, 0o1777, 0o702] {
        let builder = host(&signer);
        set_mode(&builder.plugins(), mode);
        let sentence = format!("plugin directory {} {DIRECTORY}", builder.plugins().display());
        let checked = builder.run(&["check"]);
        for exit in [checked, builder.run_to_end()] {
            assert_eq!(exit.code, Some(2), "{}", exit.stderr);
            assert!(exit.stderr.contains(&format!("error: {sentence}")), "{}", exit.stderr);
        }
    }
}

#[test]
fn a_directory_that_is_opened_later_takes_no_more_changes() {
    let signer = Signer::new();
    let host = host(&signer).start();
    set_mode(&host.plugins(), 0o777);
    check_refused(&host, &host.reload("changing"), DIRECTORY);
    check_refused(&host, &host.admin_post("plugins", &json!({ "file": FILE })), DIRECTORY);
    std::fs::rename(host.plugins().join(FILE), host.plugins().join("libother.so")).unwrap();
    check_refused(&host, &host.reload("changing"), DIRECTORY);
    std::fs::rename(host.plugins().join("libother.so"), host.plugins().join(FILE)).unwrap();
    set_mode(&host.plugins(), 0o755);
    check_done(&host.reload("changing"));
    set_mode(&host.plugins(), 0o777);
    check_done(&host.admin_post("plugins/changing/rollback", &json!({})));
    check_serves(&host, Build::new(1));
    host.stop();
}

#[test]
fn a_world_writable_file_is_refused_with_trust() {
    let signer = Signer::new();
    let builder = host(&signer);
    let file = builder.plugins().join(FILE);
    set_mode(&file, 0o646);
    let reason = format!("plugin file `{FILE}` {DIRECTORY}{FILE}`");
    let checked = builder.run(&["check"]);
    assert_eq!((checked.code, checked.stderr), (Some(1), format!("error: {reason}\n")));
    let first = builder.start();
    assert_eq!(first.failure(FILE).as_deref(), Some(&*reason));
    set_mode(&file, 0o644);
    check_done(&first.admin_post("plugins", &json!({ "file": FILE })));
    set_mode(&file, 0o646);
    check_refused(&first, &first.reload("changing"), &reason);
    first.stop();
}

#[test]
fn without_trust_world_writable_files_are_warned_of() {
    let builder = Daemon::builder().build(Build::new(1));
    set_mode(&builder.plugins(), 0o777);
    set_mode(&builder.plugins().join(FILE), 0o666);
    let directory = builder.plugins().display().to_string();
    let warnings = [
        format!(
            "every user of this machine can put plugins into plugin directory {directory}: `chmod o-w {directory}`"
        ),
        format!("plugin file `{FILE}` can be changed by every user of this machine: `chmod o-w {FILE}`"),
    ];
    let checked = builder.run(&["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let said: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    assert_eq!(checked.stderr, said);
    let scripted: serde_json::Value =
        serde_json::from_str(&builder.run(&["check", "--output", "json"]).stdout).unwrap();
    assert_eq!(scripted["warnings"], json!(warnings));
    let host = builder.start();
    for warning in &warnings {
        assert_eq!(host.logged(warning)["level"], "WARN");
    }
    assert_eq!(host.get("/ready").json()["failed_plugins"], json!([]));
    check_done(&host.reload("changing"));
    host.stop();
}

#[test]
fn a_signature_file_that_is_no_file_neither_stalls_nor_passes() {
    let signer = Signer::new();
    let host = host(&signer).start();
    let signature = host.plugins().join(SIGNATURE);
    let no_signature = "has a signature file that is not a minisign signature";
    std::fs::remove_file(&signature).unwrap();
    assert!(Command::new("mkfifo").arg(&signature).status().unwrap().success());
    check_refused(&host, &host.reload("changing"), no_signature);
    std::fs::remove_file(&signature).unwrap();
    std::fs::create_dir(&signature).unwrap();
    check_refused(&host, &host.reload("changing"), no_signature);
    std::fs::remove_dir(&signature).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &signature).unwrap();
    check_refused(&host, &host.reload("changing"), no_signature);
    std::fs::remove_file(&signature).unwrap();
    std::os::unix::fs::symlink("nowhere", &signature).unwrap();
    check_refused(&host, &host.reload("changing"), "has no signature");
    host.stop();
}
