//! Several files that hold one plugin: the record says which one counts, never the order of their names.

use std::fs;

use framex_tests::{Build, Daemon, broken, host_command, run_to_end};
use serde_json::json;

use super::{BUILD, check_done, check_refused, check_serves, host};

/// Checks that a file is named as the duplicate of another one: in the log, `/ready` and the list.
#[track_caller]
fn check_duplicate(host: &Daemon, file: &str, of: &str) {
    let reason = host.failure(file).unwrap_or_else(|| panic!("{file} is not named: {}", host.log()));
    let sentence = format!(
        "plugin file `{file}` holds plugin `changing`, as `{of}` does, which is the one on record: remove `{file}`"
    );
    assert_eq!(reason, sentence);
    host.wait_for_log(&format!("`{file}` holds plugin `changing`"));
    let list = host.run(&["plugins", "list"]).stdout;
    assert!(list.contains(&sentence), "{list}");
    assert_eq!(host.failure(of), None);
}

#[test]
fn a_backup_beside_the_new_build_does_not_come_back() {
    // Names that come before and after that of the file.
    for backup in ["libchanging-old.so", "liba.so", "libz.so"] {
        let host = host().start();
        let plugins = host.plugins();
        fs::copy(plugins.join("libchanging.so"), plugins.join(backup)).unwrap();
        host.put_build(Build::new(2));
        check_done(&host.reload("changing"));
        check_serves(&host, Build::new(2));
        // A reload of the host is not refused for it.
        let report = check_done(&host.reload_host());
        assert!(report["warnings"].to_string().contains(backup), "{report}");
        assert_eq!(report["unchanged"], json!(["changing"]));
        let mut host = host;
        for _ in 0..2 {
            host = host.start_again();
            check_serves(&host, Build::new(2));
            assert_eq!(host.plugin_status("changing")["generation"], 2);
            check_duplicate(&host, backup, "libchanging.so");
            check_done(&host.reload_host());
            check_serves(&host, Build::new(2));
        }
        fs::remove_file(host.plugins().join(backup)).unwrap();
        assert_eq!(host.failure(backup), None, "what is gone is not wrong now");
        host.stop();
    }
}

#[test]
fn ten_of_many_duplicates_are_named_and_the_rest_is_counted() {
    let host = host().start();
    for number in 0..40 {
        let copy = host.plugins().join(format!("libcopy{number:02}.so"));
        fs::copy(host.plugins().join("libchanging.so"), copy).unwrap();
    }
    let before = host.log().len();
    let report = check_done(&host.reload_host());
    let warnings = report["warnings"].as_array().unwrap();
    let last = warnings[9].as_str().unwrap();
    assert!(last.contains("(and 30 more files) holds plugin `changing`, as `libchanging.so` does"), "{last}");
    let failed = host.admin_get_at("/ready").json()["failed_plugins"].clone();
    assert_eq!((warnings.len(), failed.as_array().unwrap().len()), (10, 10), "{failed}");
    let written = host.log().len() - before;
    assert!(written < 10_000, "{written} bytes");
    host.stop();
}

#[test]
fn a_build_that_was_installed_while_the_host_was_down_counts_by_its_name() {
    let mut host = host().start();
    host.signal("KILL");
    assert_eq!(host.wait(), None);
    let plugins = host.plugins();
    fs::copy(plugins.join("libchanging.so"), plugins.join("liba.so")).unwrap();
    host.put_build(Build::new(2));
    let host = host.start_again();
    check_serves(&host, Build::new(2));
    check_duplicate(&host, "liba.so", "libchanging.so");
    host.stop();
}

#[test]
fn a_file_that_was_renamed_counts_by_its_content() {
    let host = host().start();
    let plugins = host.plugins();
    fs::rename(plugins.join("libchanging.so"), plugins.join("libz.so")).unwrap();
    fs::write(plugins.join("liba.so"), Build::new(2).bytes()).unwrap();
    let host = host.start_again();
    check_serves(&host, Build::new(1));
    check_duplicate(&host, "liba.so", "libz.so");
    host.stop();
}

#[test]
fn where_nothing_is_recorded_none_is_guessed() {
    let host = Daemon::builder()
        .plugin("demo")
        .plugin_bytes("libb.so", &Build::new(2).bytes())
        .plugin_bytes("liba.so", &Build::new(1).bytes());
    let checked = host.run(&["check"]);
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    let host = host.start();
    assert_eq!(host.get("/ready").json()["plugins"], json!(["demo"]));
    for (file, other) in [("liba.so", "libb.so"), ("libb.so", "liba.so")] {
        let reason = host.failure(file).unwrap();
        assert!(
            reason.contains(&format!("as `{other}` does, and no record says which one counts")),
            "{reason}"
        );
    }
    assert_eq!(host.call(BUILD, &json!({})).status, 404);
    // It was so at the start: nothing else is held up by it.
    check_done(&host.reload_host());
    fs::remove_file(host.plugins().join("libb.so")).unwrap();
    check_done(&host.reload_host());
    check_serves(&host, Build::new(1));
    host.stop();
}

#[test]
fn what_serves_goes_on_where_neither_file_is_the_one_on_record() {
    let host = host().start();
    let plugins = host.plugins();
    fs::remove_file(plugins.join("libchanging.so")).unwrap();
    fs::write(plugins.join("liba.so"), Build::new(2).bytes()).unwrap();
    fs::write(plugins.join("libb.so"), Build::new(3).bytes()).unwrap();
    let (_, detail) = check_refused(&host.reload_host(), 422, "reload_failed");
    assert!(detail.contains("`liba.so`") && detail.contains("`libb.so`"), "{detail}");
    check_serves(&host, Build::new(1));
    check_done(&host.reload_host());
    check_serves(&host, Build::new(1));
    let host = host.start_again();
    check_serves(&host, Build::new(1));
    assert!(host.failure("liba.so").is_some() && host.failure("libb.so").is_some());
    // The operator says which one.
    fs::rename(host.plugins().join("libb.so"), host.plugins().join("libchanging.so")).unwrap();
    check_done(&host.reload_host());
    check_serves(&host, Build::new(3));
    host.stop();
}

#[test]
fn inspect_needs_no_record() {
    let host = host().plugin_bytes("liba.so", &Build::new(2).bytes());
    let inspected = run_to_end(host_command().arg("inspect").arg(host.plugins().join("liba.so")));
    assert_eq!(inspected.code, Some(0), "{}", inspected.stderr);
}

#[test]
fn many_copies_make_no_long_sentences() {
    let mut builder = host();
    for number in 0..100 {
        builder = builder.plugin_bytes(&format!("libtiny{number:03}.so"), &broken::c_plugin());
    }
    let host = builder.start();
    let sentence = host.failure("libtiny009.so").unwrap();
    assert!(sentence.contains("as `libtiny000.so`, `libtiny001.so`, "), "{sentence}");
    assert!(sentence.contains("`libtiny010.so` and 89 more does"), "{sentence}");
    assert!(host.failure("libtiny010.so").is_none(), "ten are named");
    assert!(host.log().len() < 20_000, "{} bytes", host.log().len());
    // The config is in force, even if a plugin failed.
    host.put("libnew.so", b"no library");
    check_refused(&host.reload_host(), 422, "reload_failed");
    assert_eq!(host.get("/ready").json()["config_not_in_force"], serde_json::Value::Null);
    host.stop();
}
