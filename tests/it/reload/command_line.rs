//! `framex-host plugins`, `peers` and `explain` with a running host.

use framex_tests::Build;
use serde_json::{Value, json};

use super::{BUILD, check_serves, host};

#[test]
fn plugins_are_changed_and_shown_step_by_step() {
    let host = host().start();
    let plugins = |arguments: &[&str], code: i32| {
        let exit = host.run(&[&["plugins"], arguments].concat());
        assert_eq!(exit.code, Some(code), "{arguments:?}: {}{}", exit.stdout, exit.stderr);
        if code == 0 { exit.stdout } else { exit.stderr }
    };
    let list = plugins(&["list"], 0);
    assert!(list.starts_with("PLUGIN") && list.contains("libchanging.so"), "{list}");
    host.put_build(Build::new(2));
    let reload = plugins(&["reload", "changing"], 0);
    assert!(reload.starts_with("changing: generation 2 serves instead of 1\n"), "{reload}");
    for step in ["stage", "load", "start", "commit", "publish", "drain", "stop", "retire"] {
        assert!(
            reload.lines().any(|line| line.trim().starts_with(step) && line.ends_with(" ms")),
            "{reload}"
        );
    }
    check_serves(&host, Build::new(2));
    assert!(plugins(&["rollback", "changing", "--generation", "1"], 0).contains("generation 3"));
    check_serves(&host, Build::new(1));
    let shown = plugins(&["show", "changing"], 0);
    let generation = shown.lines().find(|line| line.starts_with("generation "));
    assert!(generation.is_some_and(|line| line.ends_with(" 3")), "{shown}");
    host.put_build(Build::new(3).start(b'f'));
    let failed = plugins(&["reload", "changing"], 1);
    assert!(failed.contains("reload_failed at the step start: "), "{failed}");
    host.put_build(Build::new(3).shape(b'c'));
    assert!(plugins(&["reload", "changing"], 1).contains("--allow-breaking"));
    assert!(plugins(&["reload", "changing", "--allow-breaking"], 0).contains("serves"));
    check_serves(&host, Build::new(3));
    assert_eq!(plugins(&["unload", "changing"], 0).lines().next(), Some("changing: withdrawn"));
    assert!(plugins(&["load", "libchanging.so"], 0).contains("serves"));
    check_serves(&host, Build::new(3));
    assert!(plugins(&["reload", "none"], 1).contains("not_found"));
    plugins(&["reload"], 2);
}

#[test]
fn scripts_get_json_also_of_what_fails() {
    let host = host().start();
    let json = |arguments: &[&str], code: i32| -> Value {
        let exit = host.run(&[&["--output", "json"], arguments].concat());
        assert_eq!(exit.code, Some(code), "{}", exit.stderr);
        serde_json::from_str(&exit.stdout).unwrap_or_else(|error| panic!("{error}: {}", exit.stdout))
    };
    assert_eq!(json(&["plugins", "list"], 0)["plugins"][0]["name"], "changing");
    assert_eq!(json(&["plugins", "show", "changing"], 0)["generation"], 1);
    assert_eq!(json(&["plugins", "reload", "changing"], 0)["generation"], 2);
    assert_eq!(json(&["explain", BUILD], 0)["runs"], "local");
    assert_eq!(json(&["peers"], 0)["peers"], json!([]));
    host.put_build(Build::new(3).start(b'p'));
    let failed = json(&["plugins", "reload", "changing"], 1);
    assert_eq!((&failed["code"], &failed["step"]), (&json!("reload_failed"), &json!("start")));
}

#[test]
fn without_a_host_they_fail_and_say_so() {
    let builder = host();
    let exit = builder.run(&["plugins", "list"]);
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("no host answers on "), "{}", exit.stderr);
}
