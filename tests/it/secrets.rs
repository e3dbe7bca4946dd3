//! Secrets stay where they are: canaries are planted everywhere a secret can be, everything that can go wrong is made to
//! go wrong, and nothing that the daemon or the command line say shows any of them, or a part of one.

mod canaries;
mod tls_keys;

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use framex_host::wire;
use framex_tests::{
    ClosedPort, Daemon, DaemonBuilder, Exit, FaultyPeer, frames, host_command, http_answer, run_to_end, send,
};
use serde_json::{Value, json};

use canaries::Canaries;

const PLACES: [&str; 14] = [
    "a caller's key in the config",
    "a caller's key in a variable",
    "a caller's key in a file",
    "key of the proxy in the config",
    "key of the proxy in a file",
    "a passphrase of a peer",
    "key of a faulty peer",
    "the admin token",
    "the table of a plugin",
    "the password in a URL of a plugin",
    "what is misplaced",
    "key that is broken",
    "a key of the command line",
    "a key of catalogues",
];

/// Folders, variables and files of secrets, and a config that the caller adds to.
fn host(canaries: &Canaries, config: &str) -> DaemonBuilder {
    let builder = Daemon::builder()
        .config("log.level = \"trace\"")
        .config(config)
        .variable("CALLER_KEY", canaries.at("a caller's key in a variable"))
        .variable("ADMIN_TOKEN", canaries.at("the admin token"));
    let put = |name: &str, place: &str| {
        fs::write(builder.folder().join(name), format!("{}\n", canaries.at(place))).unwrap();
    };
    put("caller.key", "a caller's key in a file");
    put("proxy.key", "key of the proxy in a file");
    builder.plugin("demo").plugin("misbehave")
}

/// A config with a secret everywhere one can be.
fn good_config(canaries: &Canaries, unreachable: &str, faulty: &str) -> String {
    format!(
        r#"
        auth.rules = {{ "/api/v1/functions/*" = ["{}", "env:CALLER_KEY", "file:caller.key"] }}
        admin.listen = "127.0.0.1:0"
        admin.token = "env:ADMIN_TOKEN"
        plugins.proxy.auth.rules = {{ "/api/v1/proxy/remote" = ["{}", "file:proxy.key"], "/api/v1/functions" = ["{}"] }}
        plugins.proxy.proxy_urls."{unreachable}" = {{ key = "{}" }}
        plugins.proxy.proxy_urls."{faulty}" = {{ key = "{}" }}
        plugins.proxy.proxy_functions."{unreachable}" = ["far.away"]
        plugins.proxy.proxy_functions."{faulty}" = ["far.faulty"]
        plugins.demo.token = "{}"
        plugins.demo.databases = [{{ url = "postgres://user:{}@host/x" }}]
        "#,
        canaries.at("a caller's key in the config"),
        canaries.at("key of the proxy in the config"),
        canaries.at("a key of catalogues"),
        canaries.at("a passphrase of a peer"),
        canaries.at("key of a faulty peer"),
        canaries.at("the table of a plugin"),
        canaries.at("the password in a URL of a plugin"),
    )
}

/// Configs with a secret in a place that is wrong, or beside something wrong.
fn bad_configs(canaries: &Canaries) -> Vec<String> {
    let (misplaced, broken) = (canaries.at("what is misplaced"), &canaries.at("key that is broken")[..40]);
    [
        r#"auth.rules = { "SECRET" = ["/api/v1/*"] }"#,
        r#"auth.rules = { "/x" = "SECRET" }"#,
        r#"auth.rules = { "/x" = [["SECRET"]] }"#,
        r#"auth.rules = { "/x" = { key = "SECRET" } }"#,
        r#"auth.rules = ["SECRET"]"#,
        r#"auth.rules = "SECRET""#,
        r#"auth = "SECRET""#,
        r#"auth.token = "SECRET""#,
        r#"auth.rules = { "/x" = ["SECRET } }"#,
        r#"auth.rules = { "/x" = ["SECRET", }"#,
        "auth.rules = { \"/x\" = [\"SECRET\\q\"] }",
        "auth.rules = { \"/x\" = SECRET }",
        r#"plugins.proxy.auth.rules = { "/api/v1/proxy/remote" = ["BROKEN"] }"#,
        r#"plugins.proxy.auth.rules = { "/api/v1/proxy/remote" = ["SECRET", ""] }"#,
        r#"plugins.proxy.auth.rule = { "/api/v1/proxy/remote" = ["SECRET"] }"#,
        r#"plugins.proxy.key = "SECRET""#,
        r#"plugins.proxy.proxy_urls = ["http://user:SECRET@host:1"]"#,
        r#"plugins.proxy.proxy_urls = ["http://SECRET@host:1/path"]"#,
        r#"plugins.proxy.proxy_urls = ["http://host:1/?key=SECRET"]"#,
        r#"plugins.proxy.proxy_urls = ["http://host:1/#SECRET"]"#,
        r#"plugins.proxy.proxy_urls = ["user:SECRET@host:1"]"#,
        r#"plugins.proxy.proxy_urls = "SECRET""#,
        r#"plugins.proxy.proxy_urls."http://host:1" = { key = ["SECRET"] }"#,
        r#"plugins.proxy.proxy_urls."http://host:1" = { kye = "SECRET" }"#,
        r#"plugins.proxy.proxy_urls."http://host:1" = "SECRET""#,
        r#"plugins.proxy.proxy_urls."http://user:SECRET@host:1" = {}"#,
        r#"plugins.proxy.proxy_functions."http://user:SECRET@host:1" = ["a.b"]"#,
        r#"auth.callers.web = { keys = "SECRET", functions = ["*"] }"#,
        r#"auth.callers.web = { keys = ["SECRET with spaces"], functions = ["*"] }"#,
        r#"auth.callers.web = { keys = ["SECRET"], functions = [] , key = "SECRET" }"#,
        r#"auth.callers.web = { key = "SECRET" }"#,
        r#"auth.callers.web = "SECRET""#,
        "auth.callers.one = { keys = [\"SECRET\"], functions = [\"*\"] }\nauth.callers.two = { keys = [\"SECRET\"], functions = [\"*\"] }",
        r#"plugins.demo = "SECRET""#,
        "plugins.demo.token = \"SECRET\"\nplugins.demo.token = \"SECRET\"",
        "admin.token = \"SECRET\"",
        "admin.token = [\"SECRET\"]",
        "admin.token = \"short SECRET with spaces\"\nadmin.listen = \"127.0.0.1:0\"",
        "admin.tokn = \"SECRET\"",
        "admin = \"SECRET\"",
    ]
    .map(|config| config.replace("SECRET", misplaced).replace("BROKEN", broken))
    .into_iter()
    .collect()
}

#[test]
fn configs_that_are_refused_show_no_secret() {
    let canaries = Canaries::plant(&PLACES);
    let closed = ClosedPort::take();
    let good = good_config(&canaries, &closed.url(), "http://127.0.0.2:1");
    for bad in bad_configs(&canaries) {
        // Alone, and at the end of a config that is good without it.
        for config in [bad.clone(), format!("{good}\n{bad}")] {
            let builder = host(&canaries, &config);
            for arguments in [&["check"][..], &["check", "--output", "json"], &["run"]] {
                let exit = builder.run(arguments);
                assert_eq!(exit.code, Some(2), "{bad}: {}{}", exit.stdout, exit.stderr);
                canaries.check_exit(&format!("{arguments:?} of `{}`", bad.split(' ').next().unwrap()), &exit);
            }
        }
    }
    let misplaced = canaries.at("what is misplaced");
    for (name, value) in [
        ("FRAMEX_ADMIN__TOKEN", format!("[\"{misplaced}\"]")),
        ("FRAMEX_AUTH__RULES", format!("{{ \"/x\" = \"{misplaced}\" }}")),
        ("FRAMEX_AUTH__RULES", format!("\"{misplaced}")),
        ("FRAMEX_PLUGINS__PROXY__PROXY_URLS", format!("[\"http://user:{misplaced}@host\"]")),
        ("FRAMEX_PLUGINS__DEMO", misplaced.to_owned()),
    ] {
        let exit = host(&canaries, "").variable(name, &value).run(&["check"]);
        assert_eq!(exit.code, Some(2), "{name}={value}: {}{}", exit.stdout, exit.stderr);
        canaries.check_exit(name, &exit);
    }
}

#[test]
fn plugins_that_fail_show_no_secret() {
    let canaries = Canaries::plant(&PLACES);
    let good = good_config(&canaries, "http://127.0.0.2:1", "http://127.0.0.2:2");
    for fault in ["start = \"panic\"", "start = \"fail\"", "start = 7", "start = \"register_twice\""] {
        let table = canaries.at("the table of a plugin");
        let builder = host(&canaries, &format!("{good}\n[plugins.misbehave]\ntoken = \"{table}\"\n{fault}"));
        for arguments in [&["check"][..], &["check", "--output", "json"]] {
            let exit = builder.run(arguments);
            assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
            canaries.check_exit(fault, &exit);
        }
        let host = builder.start();
        canaries.check_answer("/ready", &host.get("/ready"));
        canaries.check("the log", host.log());
        canaries.check_folder(&host.folder().join("state"));
        host.stop();
    }
}

/// Runs a command with the config of a daemon, and with a key of its own.
fn run(canaries: &Canaries, host: &Daemon, arguments: &[&str]) -> Exit {
    let mut command = host_command();
    command
        .env("FRAMEX_URL", host.url())
        .env("FRAMEX_KEY", canaries.at("a key of the command line"))
        .env("CALLER_KEY", canaries.at("a caller's key in a variable"))
        .env("ADMIN_TOKEN", canaries.at("the admin token"))
        .stdin(Stdio::null());
    run_to_end(command.arg("--config").arg(host.folder().join("config.toml")).args(arguments))
}

fn check_callers(canaries: &Canaries, host: &Daemon) {
    let call = |function: &str, key: &str, body: &Value| {
        let url = format!("{}/api/v1/functions/{function}", host.url());
        send(
            "POST",
            &url,
            &[("authorization", key), ("content-type", "application/json")],
            body.to_string().as_bytes(),
        )
    };
    for (place, secret) in &canaries.secrets {
        let status = if place.starts_with("a caller's key") { 200 } else { 401 };
        let arguments = json!({"id": 7, "user": {"id": 7, "name": "Ada"}});
        for key in [secret.clone(), format!("Bearer {secret}"), format!("bearer  {secret}x")] {
            let answer = call("demo.some.example_func", &key, &arguments);
            let expected = if key.ends_with('x') { 401 } else { status };
            assert_eq!(answer.status, expected, "{place}: {answer:?}");
            canaries.check_answer(place, &answer);
        }
    }
    let key = canaries.at("a caller's key in a file");
    for (function, arguments, status) in [
        ("far.away", json!({}), 503),
        ("far.faulty", json!({}), 503),
        ("demo.some.example_func", json!({"id": "x"}), 400),
        ("demo.some.exampel_func", json!({}), 404),
        ("misbehave.functions.panics", json!({"message": "now"}), 500),
        ("misbehave.functions.panics_blocking", json!({"message": "now"}), 500),
        ("misbehave.functions.fails", json!({"id": 7}), 422),
        ("misbehave.functions.needs_state", json!({}), 503),
    ] {
        let answer = call(function, key, &arguments);
        assert_eq!(answer.status, status, "{function}: {answer:?}");
        canaries.check_answer(function, &answer);
    }
    for path in
        ["/health", "/ready", "/api/v1/functions", "/api/v1/openapi.json", "/api/v1/functions/x", "/nowhere"]
    {
        for headers in [&[][..], &[("authorization", key)]] {
            canaries.check_answer(path, &send("GET", &format!("{}{path}", host.url()), headers, b""));
        }
    }
}

fn check_peers(canaries: &Canaries, host: &Daemon) {
    let places = ["key of the proxy in the config", "key of the proxy in a file", "key of a faulty peer"];
    let arguments = json!({"id": 7, "user": {"id": 7, "name": "Ada"}});
    for place in places {
        let keys = frames::key_of(canaries.at(place));
        let envelope = frames::envelope("demo.some.example_func", &arguments);
        let (_, frame) = frames::seal(&keys, &envelope);
        let expected = if place == "key of a faulty peer" { 401 } else { 200 };
        // As it is, again, with a flipped bit, cut off, of another version.
        let mut flipped = frame.clone();
        flipped[70] ^= 1;
        let mut newer = frame.clone();
        newer[3] = b'2';
        for frame in [&frame[..], &frame, &flipped, &frame[..70], &newer, b""] {
            canaries.check_answer(place, &frames::post_frame(&host.url(), frame));
        }
        assert_eq!(frames::post_frame(&host.url(), &frames::seal(&keys, &envelope).1).status, expected);
        let raw = frames::RawKeys::of(canaries.at(place));
        for plaintext in [&b""[..], b"\xc1", &[0x91; 200]] {
            canaries.check_answer(place, &frames::post_frame(&host.url(), &raw.seal(0, [0, 0], plaintext).1));
        }
    }
    let text = [("content-type", "text/plain")];
    canaries
        .check_answer("a text", &send("POST", &format!("{}/api/v1/proxy/remote", host.url()), &text, b"x"));
}

fn check_admin(canaries: &Canaries, host: &Daemon) {
    let address = host.admin_address();
    let requests = [
        ("GET", "plugins", ""),
        ("GET", "plugins/demo", ""),
        ("GET", "plugins/absent", ""),
        ("GET", "functions", ""),
        ("GET", "peers", ""),
        ("GET", "explain/far.away", ""),
        ("GET", "explain/..", ""),
        ("GET", "nowhere", ""),
        ("POST", "plugins", "{\"file\": \"../x.so\"}"),
        ("POST", "plugins", "{\"file\": \"libnobody.so\"}"),
        ("POST", "plugins/absent/reload", "{}"),
        ("POST", "plugins/demo/reload", "{}"),
        ("POST", "plugins/demo/rollback", "{\"generation\": 99}"),
        ("POST", "plugins/demo/reload", "[1]"),
        ("POST", "reload", "{\"more\": 1}"),
        ("POST", "reload", "{}"),
    ];
    let token = canaries.at("the admin token");
    for token in [token, &token[1..], canaries.at("a caller's key in the config")] {
        for (method, path, body) in requests {
            let request = format!(
                "{method} /admin/v1/{path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: \
                 close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            canaries.check_answer(path, &host.admin_raw(request));
        }
    }
    let config = fs::read_to_string(host.folder().join("config.toml")).unwrap();
    for bad in bad_configs(canaries) {
        host.put_config(&format!("{config}\n{bad}"));
        let answer = host.reload_host();
        assert_eq!(answer.status, 422, "{answer:?}");
        canaries.check_answer("a reload", &answer);
    }
    host.put_config(&config);
}

fn check_command_line(canaries: &Canaries, host: &Daemon) {
    let commands = [
        "check",
        "functions",
        "plugins list",
        "plugins show demo",
        "plugins show absent",
        "plugins reload absent",
        "reload",
        "peers",
        "explain far.away",
        "explain demo.some.example_func",
        "call demo.some.example_func",
        "call far.away --json 7",
        "call --help",
        "functions --help",
        "completions bash",
        "completions zsh",
        "inspect plugins/none.so",
        "run",
    ];
    for words in commands {
        let words: Vec<&str> = words.split(' ').collect();
        for format in [&[][..], &["--output", "json"]] {
            canaries.check_exit(words[0], &run(canaries, host, &[&words[..], format].concat()));
        }
    }
    let plugin = host.folder().join("plugins/libdemo.so");
    canaries.check_exit("inspect", &run(canaries, host, &["inspect", plugin.to_str().unwrap()]));
    let key = canaries.at("a key of the command line");
    let closed = ClosedPort::take();
    for url in [&host.url(), &closed.url(), "nowhere", &format!("http://user:{key}@127.0.0.1:1")] {
        let exit = run(canaries, host, &["call", "a.b", "--key", key, "--url", url]);
        assert_ne!(exit.code, Some(0), "{url}");
        canaries.check_exit(url, &exit);
    }
}

#[test]
fn nothing_that_a_host_says_shows_a_secret() {
    let canaries = Canaries::plant(&PLACES);
    let closed = ClosedPort::take();
    let key_of_catalogues =
        format!("authorization: bearer {}", canaries.at("a key of catalogues")).to_lowercase();
    let was_shown_the_key = Arc::new(AtomicBool::new(false));
    let shown = Arc::clone(&was_shown_the_key);
    let faulty = FaultyPeer::serving(move |head, _| {
        shown.fetch_or(head.contains(&key_of_catalogues), Ordering::SeqCst);
        http_answer("200 OK", &[("content-type", wire::CONTENT_TYPE)], b"junk")
    });
    let host = host(&canaries, &good_config(&canaries, &closed.url(), &faulty.url())).start();
    check_callers(&canaries, &host);
    check_peers(&canaries, &host);
    check_admin(&canaries, &host);
    check_command_line(&canaries, &host);
    assert!(was_shown_the_key.load(Ordering::SeqCst), "it is for the peer");
    for frame in faulty.frames() {
        canaries.check("a frame to a peer", frame);
    }
    canaries.check_folder(&host.folder().join("state"));
    let cmdline = fs::read(format!("/proc/{}/cmdline", host.pid())).unwrap();
    canaries.check("the command line of the process", cmdline);
    host.signal("HUP");
    host.wait_for_log("SIGHUP");
    let log = host.log();
    assert!(log.contains("\"level\":\"TRACE\"") || log.contains("\"level\":\"DEBUG\""), "it logs everything");
    canaries.check("the log", log);
    host.stop();
}
