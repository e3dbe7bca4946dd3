//! The configuration, by the real binary: what is wrong is named and ends it with 2, what is right is what runs.

mod names;
mod variables;

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;

use framex_tests::{ClosedPort, Daemon, DaemonBuilder, Exit, host_command, run_to_end, send};
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../../config/document.toml");
const DEMO: &str = "demo.some.example_func";

/// Both the daemon and `check` refuse it with 2 and say why on the error output.
fn check_refused(builder: DaemonBuilder, sentences: &[&str]) {
    let checked = builder.run(&["check"]);
    let ran = builder.run_to_end();
    for exit in [checked, ran] {
        assert_eq!(exit.code, Some(2), "{}", exit.stderr);
        assert_eq!(exit.stdout, "");
        for sentence in sentences {
            assert!(exit.stderr.contains(sentence), "{:?} lacks {sentence:?}", exit.stderr);
        }
    }
}

fn json_of(exit: &Exit) -> Value {
    serde_json::from_str(&exit.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", exit.stdout, exit.stderr))
}

#[test]
fn what_is_wrong_is_named_with_file_line_and_key() {
    let check = |toml: &str, sentence: &str| {
        check_refused(Daemon::builder().config(toml), &["error: ", "config.toml line 1", sentence]);
    };
    check("prot = 1", "unknown key `prot`");
    check("serve.port = 1", "unknown key `serve`, the nearest known key is `server`");
    check("server.hots = \"127.0.0.1\"", "`server.hots`, the nearest known key is `server.host`");
    check("server.host = \"nowhere.example\"", "`server.host`");
    check(
        "server.body_bytes_max = \"many\"",
        "`server.body_bytes_max` must be a whole number from 1024 to 1073741824",
    );
    check(
        "server.call_timeout_ms = 0",
        "`server.call_timeout_ms` must be a whole number from 1 to 86400000, found 0",
    );
    check("load_plugins = \"demo\"", "`load_plugins` must be a list of texts");
    check("log.level = \"loud\"", "`log.level` must be error, warn, info, debug or trace, found `loud`");
    check("plugins.proxy.proxy_urls = [\"remotehost:8080\"]", "a peer's URL starts with http:// or https://");
    check(
        "plugins.proxy.proxy_urls = [\"http://169.254.169.254\"]",
        "`http://169.254.169.254:80`, which is a link-local or metadata address: it is refused unless \
         `plugins.proxy.allow_addresses` has it",
    );
    check(
        "plugins.proxy.proxy_urls = [\"https://[::ffff:169.254.0.1]\"]",
        "which is a link-local or metadata address",
    );
    check("plugins.proxy.tls.ca = \"not.there\"", "not.there`, which does not exist");
    check("server.tls.cert = \"not.there\"", "`server.tls` needs the key `key`");
    check("plugins.proxy.fallback = \"remote\"", "`plugins.proxy.fallback`");
    check(
        "plugins.proxy.auth.rules = { \"/x\" = [\"env:NOT_SET\"] }",
        "variable `NOT_SET`, which is not set",
    );
    check("plugins.proxy.auth.rules = { \"/x\" = [\"file:not.there\"] }", "not.there");
    check("server = [", "column 11: ");
}

#[test]
fn several_faults_are_named_in_one_go() {
    let host = Daemon::builder().config("[log]\nlevel = \"loud\"\n[server]\nport = 70000");
    check_refused(host, &["line 2: `log.level`"]);
    let host = Daemon::builder().config("prot = 1\n[server]\nhots = \"::1\"");
    check_refused(host, &["line 1: unknown key `prot`", "line 3: unknown key `server.hots`"]);
}

#[test]
fn a_config_file_that_is_not_there_is_named() {
    let run = |path: &str| run_to_end(host_command().args(["--config", path]).stdin(Stdio::null()));
    for path in ["not-there.toml", "/nowhere/config.toml"] {
        let exit = run(path);
        assert_eq!(exit.code, Some(2), "{}", exit.stderr);
        assert_eq!(exit.stderr, format!("error: config file `{path}` does not exist\n"));
    }
    let host = Daemon::builder();
    let folder = host.folder().to_str().unwrap();
    let exit = run(folder);
    assert_eq!(
        (exit.code, exit.stderr),
        (Some(2), format!("error: config file `{folder}` is a directory\n"))
    );
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let exit = Daemon::builder().variable("FRAMEX_SERVER__PORT", &address.port().to_string()).run_to_end();
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    let sentence = format!("error: cannot listen on {address}: Address already in use");
    assert!(exit.stderr.contains(&sentence), "{} lacks {sentence}", exit.stderr);
    assert!(exit.stderr.contains("set server.host and server.port to a free one"), "{}", exit.stderr);
}

#[test]
fn a_state_directory_is_one_hosts_alone() {
    let mut first = Daemon::builder().plugin("demo").start();
    let state = first.folder().join("state");
    let second = || Daemon::builder().config(&format!("state_dir = {state:?}")).plugin("demo");
    let exit = second().run_to_end();
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    let sentence = format!("state directory {} is in use by another framex-host", state.display());
    assert!(exit.stderr.contains(&sentence), "{}", exit.stderr);
    assert_eq!(second().run(&["check"]).code, Some(0), "a check may run beside the host");
    let answer = first.call(DEMO, &json!({"id": 7, "user": {"id": 7, "name": "Ada"}}));
    assert_eq!(answer.json(), json!("7: Ada"), "the one that has it goes on");
    first.signal("TERM");
    assert_eq!(first.wait(), Some(0), "{}", first.log());
    second().start().stop();
}

#[test]
fn a_state_directory_that_cannot_be_is_named() {
    let host = Daemon::builder().config("state_dir = \"file/state\"");
    fs::write(host.folder().join("file"), "in the way").unwrap();
    let exit = host.run_to_end();
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("file/state cannot be used: "), "{}", exit.stderr);
    assert!(exit.stderr.contains("set state_dir to one that this user may write to"), "{}", exit.stderr);
}

#[test]
fn variables_win_over_the_file_and_flags_over_variables() {
    let host_id = |host: Daemon| {
        let id = host.get("/health").json()["host_id"].as_str().unwrap().to_owned();
        host.stop();
        id
    };
    let file = || Daemon::builder().config("host_id = \"of-the-file\"");
    assert_eq!(host_id(file().start()), "of-the-file");
    assert_eq!(host_id(file().variable("FRAMEX_HOST_ID", "of-the-variable").start()), "of-the-variable");

    // The port of the variable cannot be had; that of the flag can.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let host = Daemon::builder().variable("FRAMEX_SERVER__PORT", &port).flag("--port").flag("0").start();
    assert_eq!(host.get("/health").status, 200);
    host.stop();

    check_refused(
        Daemon::builder().variable("FRAMEX_SERVER__PROT", "1"),
        &["variable FRAMEX_SERVER__PROT: unknown key `server.prot`"],
    );
    let exit = Daemon::builder().flag("--log-level").flag("loud").run_to_end();
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    let refused = "error: invalid value 'loud' for '--log-level <LEVEL>'\n  [possible values: error, warn, info, debug, trace]";
    assert!(exit.stderr.starts_with(refused), "{}", exit.stderr);
}

#[test]
fn the_plugin_directory_can_be_a_flag() {
    let host = Daemon::builder().plugin("demo");
    fs::rename(host.plugins(), host.folder().join("elsewhere")).unwrap();
    let elsewhere = host.folder().join("elsewhere").to_str().unwrap().to_owned();
    let host = host.flag("run").flag("--plugin-dir").flag(&elsewhere).start();
    assert_eq!(host.get("/ready").json()["plugins"], json!(["demo"]));
    host.stop();
}

#[test]
fn flags_of_the_daemon_hold_before_and_after_the_command() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for flags in [&["--port", "0", "run"][..], &["--port", &port, "run", "--port", "0"]] {
        let builder = Daemon::builder().variable("FRAMEX_SERVER__PORT", &port);
        let host = flags.iter().fold(builder, |builder, flag| builder.flag(flag)).start();
        assert_eq!(host.get("/health").status, 200);
        host.stop();
    }
    let builder = Daemon::builder();
    for arguments in [["--port", "9", "check"], ["check", "--port", "9"]] {
        let checked = json_of(&builder.run(&[&arguments[..], &["--output", "json"]].concat()));
        assert_eq!(checked["config"]["server"]["port"], 9, "{arguments:?}");
    }
    let exit = builder.run(&["--log-level", "loud", "check"]);
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("invalid value 'loud' for '--log-level <LEVEL>'"), "{}", exit.stderr);
    // A command that has no use for them does not pass over them.
    for flags in [&["--port", "9"][..], &["--plugin-dir", "x"], &["--core-dumps"]] {
        for command in [&["keygen"][..], &["plugins", "list"], &["functions"]] {
            let exit = builder.run(&[flags, command].concat());
            assert_eq!((exit.code, exit.stdout.as_str()), (Some(2), ""));
            assert_eq!(exit.stderr, format!("error: {} is for `run` and `check` alone\n", flags[0]));
        }
    }
}

#[test]
fn a_socket_with_a_longer_path_than_the_system_takes_is_refused_by_check() {
    let builder = Daemon::builder().config(&format!("admin.socket = \"/tmp/{}\"", "x".repeat(120)));
    let exit = builder.run(&["check"]);
    assert_eq!(exit.code, Some(2), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stderr.contains("error: `admin.socket` /tmp/xxx"), "{}", exit.stderr);
    assert!(exit.stderr.ends_with("; set it to a shorter path\n"), "{}", exit.stderr);
}

#[test]
fn the_documents_snippets_are_a_config_as_they_are() {
    let builder = Daemon::builder().config(DOCUMENT).plugin("demo");
    let checked = json_of(&builder.run(&["check", "--output", "json"]));
    assert_eq!((&checked["ok"], &checked["plugins"][0]["functions"]), (&json!(true), &json!([DEMO])));
    let proxy = &checked["config"]["plugins"]["proxy"];
    assert_eq!(proxy["proxy_functions"], json!({"http://remotehost:8080": [DEMO]}));
    assert_eq!(proxy["white_list"], json!(["/api/v1/proxy/remote"]));
    assert_eq!(proxy["auth"]["rules"]["/api/v1/openapi.json"], json!(["[redacted]"]));
    let warnings = checked["warnings"].to_string();
    assert!(warnings.contains("is a passphrase") && warnings.contains("keygen"), "{warnings}");
    let text = builder.run(&["check"]);
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    let row = text.stdout.lines().find(|line| line.contains(DEMO)).unwrap();
    assert!(row.starts_with("demo ") && row.ends_with("http://remotehost:8080"), "{row}");

    let host = builder.start();
    let catalogue = host.get("/api/v1/functions").json();
    assert_eq!(catalogue["functions"][0]["name"], DEMO);
    assert_eq!(catalogue["functions"][0]["plugin"], "demo");
    assert_eq!(catalogue["functions"][0]["runs"], "http://remotehost:8080");
    host.stop();
}

#[test]
fn secrets_show_in_no_log_dump_or_error() {
    let peer = ClosedPort::take();
    let secrets = "auth.rules = { \"/api/*\" = [\"canary-1\", \"env:CALLER_KEY\", \"file:caller.key\"] }\n\
                   plugins.proxy.auth.rules = { \"/api/v1/proxy/remote\" = [\"canary-4\"] }\n\
                   plugins.proxy.proxy_urls.\"PEER\" = { key = \"canary-5\" }\n\
                   plugins.proxy.proxy_functions = { \"PEER\" = [\"far.away\"] }\n\
                   plugins.misbehave.token = \"canary-6\"\n"
        .replace("PEER", &peer.url());
    let with = |more: &str| {
        let builder = Daemon::builder()
            .config(&format!("log.level = \"trace\"\n{secrets}{more}"))
            .variable("CALLER_KEY", "canary-2");
        fs::write(builder.folder().join("caller.key"), "canary-3\n").unwrap();
        builder.plugin("demo").plugin("misbehave")
    };
    let check = |what: &str, text: &str| {
        assert!(!text.is_empty());
        assert!(!text.contains("canary"), "{what} shows a secret: {text}");
    };
    for arguments in [&["check", "--output", "json"][..], &["check"]] {
        let exit = with("").run(arguments);
        check("check", &format!("{}{}", exit.stdout, exit.stderr));
    }
    let refused = with("server.queue_max = \"many\"").run(&["check"]);
    assert_eq!(refused.code, Some(2));
    check("an error", &refused.stderr);

    let host = with("").start();
    for key in ["canary-1", "canary-2", "Bearer canary-3", "Bearer canary-wrong"] {
        let headers = [("authorization", key), ("content-type", "application/json")];
        for function in ["far.away", "demo.some.example_func"] {
            let answer =
                send("POST", &format!("{}/api/v1/functions/{function}", host.url()), &headers, b"{}");
            let expected = match (key.contains("wrong"), function) {
                (true, _) => 401,
                (false, "far.away") => 503,
                (false, _) => 400,
            };
            assert_eq!(answer.status, expected, "{function} with {key}");
            check("an answer", &String::from_utf8_lossy(&answer.body));
        }
    }
    check("/ready", &host.get("/ready").json().to_string());
    check("the log", &host.log());
    host.stop();
}
