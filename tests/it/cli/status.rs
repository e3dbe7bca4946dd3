//! Exit codes by one rule: 0 done, 1 failed, 2 bad usage or a bad config, found by the command or by the host.

use framex_tests::Daemon;
use serde_json::json;

use super::{DEMO, json_of};

#[test]
fn a_reload_of_a_bad_config_exits_with_2() {
    let host = Daemon::builder().plugin("demo").start();
    for (config, part) in [
        ("prot = 1\n", "unknown key `prot`"),
        ("auth.rules = { \"/api/*\" = [\"file:gone.key\"] }\n", "gone.key`, which does not exist"),
        ("auth.rules = { \"/api/*\" = [\"env:NOT_SET\"] }\n", "`NOT_SET`, which is not set"),
    ] {
        host.put_config(config);
        let exit = host.run(&["reload"]);
        assert_eq!(exit.code, Some(2), "{config}: {}", exit.stderr);
        assert!(exit.stderr.contains(part), "{}", exit.stderr);
    }
    host.put_config("");
    let exit = host.run(&["reload"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    // A plugin that does not start is not a fault of the config.
    std::fs::write(host.folder().join("plugins/libdemo.so"), b"").unwrap();
    assert_eq!(host.run(&["reload"]).code, Some(1));
    host.stop();
}

#[test]
fn a_function_that_runs_nowhere_is_explained_with_1() {
    let host = Daemon::builder().plugin("demo").start();
    assert_eq!(host.run(&["explain", DEMO]).code, Some(0));
    let exit = host.run(&["explain", "demo.some.exampel_func"]);
    assert_eq!((exit.code, exit.stderr.as_str()), (Some(1), ""), "{}", exit.stdout);
    assert!(exit.stdout.starts_with("`demo.some.exampel_func` runs nowhere:"), "{}", exit.stdout);
    let exit = host.run(&["--output", "json", "explain", "zzz"]);
    assert_eq!((exit.code, &json_of(&exit)["runs"]), (Some(1), &json!("nowhere")));
    host.stop();
}

#[test]
fn a_host_without_an_id_gets_none_from_check() {
    let builder = Daemon::builder();
    let exit = builder.run(&["check"]);
    assert!(exit.stdout.contains("is good: the host would listen on 127.0.0.1:0"), "{}", exit.stdout);
    assert_eq!(json_of(&builder.run(&["check", "--output", "json"]))["config"]["host_id"], json!(null));
    let named = Daemon::builder().config("host_id = \"host-b\"");
    let exit = named.run(&["check"]);
    assert!(exit.stdout.contains("is good: host host-b would listen on"), "{}", exit.stdout);
}

#[test]
fn a_plugin_is_shown_in_words() {
    let host = Daemon::builder().plugin("demo").start();
    std::fs::write(host.folder().join("plugins/libdemo.so"), b"").unwrap();
    assert_eq!(host.run(&["plugins", "reload", "demo"]).code, Some(1));
    let exit = host.run(&["plugins", "show", "demo"]);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let row = |key: &str| {
        let line = exit.stdout.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.trim_start_matches(key).trim().to_owned()
    };
    assert_eq!((row("kept"), row("zombies"), row("change")), ("-".into(), "-".into(), "-".into()));
    let failure = row("last failure");
    assert!(
        failure.starts_with("at the step stage, 20") || failure.starts_with("at the step load, 20"),
        "{failure}"
    );
    assert!(failure.ends_with("plugin file `libdemo.so` is empty"), "{failure}");
    assert!(!exit.stdout.contains('{'), "{}", exit.stdout);
    host.stop();
}
