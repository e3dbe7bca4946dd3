//! Variables: the host ignores unknown ones, and plugins get theirs as text.

use framex_tests::Daemon;
use serde_json::json;

use super::check_refused;

#[test]
fn variables_of_an_image_do_not_keep_the_host_from_starting() {
    let names = ["FRAMEX_VERSION", "FRAMEX_HOME", "FRAMEX_BUILD_DATE"];
    let builder = names.iter().fold(Daemon::builder(), |builder, name| builder.variable(name, "1.2"));
    let sentence = |name: &str| format!("variable {name} resembles no key of the config, and is ignored");
    let checked = builder.run(&["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    for name in names {
        assert!(checked.stderr.contains(&format!("warning: {}\n", sentence(name))), "{}", checked.stderr);
    }
    let host = builder.start();
    for name in names {
        assert_eq!(host.logged(&sentence(name))["level"], "WARN");
    }
    host.stop();
}

#[test]
fn a_variable_that_is_like_a_key_names_it() {
    for (name, sentence) in [
        ("FRAMEX_HOST", "the nearest known key is `server.host`, as a variable FRAMEX_SERVER__HOST"),
        ("FRAMEX_PORT", "the nearest known key is `server.port`, as a variable FRAMEX_SERVER__PORT"),
        ("FRAMEX_LOG_LEVEL", "the nearest known key is `log.level`, as a variable FRAMEX_LOG__LEVEL"),
        ("FRAMEX_AUHT__RULES", "the nearest known key is"),
        ("FRAMEX_STATEDIR", "the nearest known key is `state_dir`, as a variable FRAMEX_STATE_DIR"),
    ] {
        check_refused(
            Daemon::builder().variable(name, "127.0.0.1"),
            &[&format!("variable {name}: "), sentence],
        );
    }
    // The links of Kubernetes to a service of the name are neither.
    let host = Daemon::builder()
        .variable("FRAMEX_SERVICE_HOST", "10.0.0.1")
        .variable("FRAMEX_PORT", "tcp://10.0.0.1:8080")
        .start();
    assert!(!host.log().contains("is like no key"), "{}", host.log());
    host.stop();
}

#[test]
fn a_text_of_digits_reaches_the_plugin_that_asks_for_text() {
    for password in ["123456", "0123", "1e5", "0x10", "true", "1_000", "1.10", "hunter2", "\"7\"", "[x"] {
        let host = Daemon::builder()
            .variable("FRAMEX_PLUGINS__MISBEHAVE__PASSWORD", password)
            .variable("FRAMEX_PLUGINS__MISBEHAVE__SLOW_MS", "1")
            .plugin("misbehave")
            .start();
        let answer = host.call("misbehave.functions.tells_password", &json!({}));
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!(password.trim_matches('"'))),
            "{}",
            host.log()
        );
        host.stop();
    }
}

#[test]
fn a_variable_that_its_plugin_cannot_take_is_named_and_ready_names_the_plugin() {
    let host = Daemon::builder()
        .variable("FRAMEX_PLUGINS__MISBEHAVE__SLOW_MS", "soon")
        .plugin("misbehave")
        .plugin("demo")
        .start();
    let reason = "plugin `misbehave` failed to start: variable FRAMEX_PLUGINS__MISBEHAVE__SLOW_MS: key `slow_ms`: \
                  invalid type: string, expected u64";
    assert_eq!(host.failure("misbehave").as_deref(), Some(reason));
    assert_eq!(host.logged(reason)["level"], "ERROR");
    let ready = host.get("/ready").json();
    assert_eq!(
        (&ready["plugins"], &ready["failed_plugins"]),
        (&json!(["demo"]), &json!([{ "plugin": "misbehave" }]))
    );
    host.stop();
}
