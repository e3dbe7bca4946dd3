//! The admin API over TCP: the token, browsers' pages, rebound names, the audit log.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use framex_tests::{Answer, Build, Daemon, DaemonBuilder};
use serde_json::{Value, json};

const TOKEN: &str = "canary-of-the-admin-token";
const LIST: &str = "/admin/v1/plugins";
const RELOAD: &str = "/admin/v1/plugins/changing/reload";

fn builder() -> DaemonBuilder {
    let config = "admin.listen = \"127.0.0.1:0\"\nadmin.token = \"env:ADMIN_TOKEN\"\n";
    Daemon::builder().config(config).variable("ADMIN_TOKEN", TOKEN).build(Build::new(1))
}

/// Sends a request with these headers alone; the connection ends with the answer.
fn ask(host: &Daemon, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    host.admin_raw(request + "\r\n")
}

/// Sends a request as a client should, and what else is said.
fn ask_well(host: &Daemon, method: &str, target: &str, more: &[(&str, &str)]) -> Answer {
    let address = host.admin_address();
    let headers =
        [("host", address.as_str()), ("authorization", TOKEN), ("content-type", "application/json")];
    ask(host, method, target, &[&headers, more].concat())
}

#[track_caller]
fn check_refused(answer: &Answer, status: u16, code: &str) {
    let (found, found_code, detail) = answer.problem();
    assert_eq!((found, found_code.as_str()), (status, code), "{detail}");
    assert!(!detail.is_empty() && !detail.contains("canary"), "{detail}");
    check_no_cors(answer);
}

#[track_caller]
fn check_no_cors(answer: &Answer) {
    let shares = |(name, _): &&(String, String)| name.starts_with("access-control-");
    assert_eq!(answer.headers.iter().find(shares), None);
}

/// Waits for `count` lines of the audit log and returns them.
#[track_caller]
fn audit(host: &Daemon, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let log = host.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<Value> = lines.filter(|line| line["target"] == "audit").collect();
        if lines.len() >= count {
            return lines;
        }
        assert!(Instant::now() < deadline, "{count} lines of the audit log were expected: {lines:?}");
        std::thread::yield_now();
    }
}

#[test]
fn the_token_opens_it_and_nothing_else_does() {
    let host = builder().start();
    let address = host.admin_address();
    let with = |authorization: Option<&str>, method: &str, target: &str| {
        let mut headers = vec![("host", address.as_str()), ("content-type", "application/json")];
        headers.extend(authorization.map(|value| ("authorization", value)));
        ask(&host, method, target, &headers)
    };
    let longer = format!("{TOKEN}x");
    for wrong in [None, Some(""), Some("Bearer"), Some(&TOKEN[1..]), Some(&longer), Some("env:ADMIN_TOKEN")] {
        for (method, target) in [("GET", LIST), ("POST", RELOAD), ("GET", "/"), ("GET", "/admin/v1/no")] {
            let answer = with(wrong, method, target);
            check_refused(&answer, 401, "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    let bearer = format!("Bearer {TOKEN}");
    for right in [TOKEN, &bearer] {
        let answer = with(Some(right), "GET", LIST);
        assert_eq!((answer.status, &answer.json()["plugins"][0]["name"]), (200, &json!("changing")));
        check_no_cors(&answer);
    }
    assert_eq!(host.plugin_status("changing")["generation"], 1, "nothing that was refused was done");
    let reloaded = with(Some(&bearer), "POST", RELOAD);
    assert_eq!((reloaded.status, &reloaded.json()["generation"]), (200, &json!(2)));
    check_refused(&with(Some(TOKEN), "GET", "/admin/v1/no"), 404, "not_found");
    assert_eq!(with(Some(TOKEN), "DELETE", LIST).status, 405);
    assert_eq!(host.reload("changing").json()["generation"], 3, "the unix socket takes no token");
    host.stop();
}

#[test]
fn a_token_is_replaced_by_a_reload_that_would_also_move_the_listener() {
    let host = builder().start();
    let listens = |host: &Daemon, token: &str| {
        let address = host.admin_address();
        ask(host, "GET", LIST, &[("host", &address), ("authorization", token)]).status
    };
    let config =
        |port: u16, token: &str| format!("admin = {{ listen = \"127.0.0.1:{port}\", token = {token:?} }}");
    let replaced = "canary-of-another-token";
    host.put_config(&config(1, replaced));
    assert_eq!(host.reload_host().json()["restart_required"], json!(["admin.listen"]));
    assert_eq!((listens(&host, TOKEN), listens(&host, replaced)), (401, 200));
    host.put_config("");
    let report = host.reload_host().json();
    assert_eq!(report["restart_required"], json!(["admin.listen", "admin.token"]));
    assert_eq!(listens(&host, replaced), 200, "it opens for as long as the listener is there");
    host.stop();
}

#[test]
fn pages_of_other_origins_are_refused_with_the_token_too() {
    let host = builder().start();
    let address = host.admin_address();
    let port = address.rsplit_once(':').unwrap().1;
    let (own, other_name) = (format!("http://{address}"), format!("http://localhost:{port}"));
    for headers in [
        [("origin", "http://evil.example")],
        [("origin", "null")],
        [("origin", "")],
        [("origin", &other_name)],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
    ] {
        check_refused(&ask_well(&host, "POST", RELOAD, &headers), 403, "permission_denied");
        check_refused(&ask_well(&host, "GET", LIST, &headers), 403, "permission_denied");
    }
    // What a browser asks before it lets a page send JSON, or a token, to another origin.
    let preflight = [
        ("host", address.as_str()),
        ("origin", "http://evil.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
        ("access-control-request-private-network", "true"),
    ];
    check_refused(&ask(&host, "OPTIONS", RELOAD, &preflight), 403, "permission_denied");
    check_no_cors(&ask_well(&host, "OPTIONS", RELOAD, &[("origin", &own)]));
    assert_eq!(host.plugin_status("changing")["generation"], 1);
    for headers in
        [&[("origin", own.as_str()), ("sec-fetch-site", "same-origin")][..], &[("sec-fetch-site", "none")]]
    {
        let answer = ask_well(&host, "GET", LIST, headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        check_no_cors(&answer);
    }
    host.stop();
}

#[test]
fn names_that_could_be_rebound_are_refused_with_the_token_too() {
    let host = builder().start();
    let address = host.admin_address();
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let ask_as = |hosts: &[&str], target: &str| {
        let mut headers = vec![("authorization", TOKEN)];
        headers.extend(hosts.iter().map(|host| ("host", *host)));
        ask(&host, "GET", target, &headers)
    };
    let names = [format!("evil.example:{port}"), format!("127.0.0.1.evil.example:{port}")];
    let other_port = format!("127.0.0.1:{}", port ^ 1);
    for hosts in
        [&[names[0].as_str()][..], &[&names[1]], &[&other_port], &["127.0.0.1"], &["localhost"], &[""]]
    {
        let answer = ask_as(hosts, LIST);
        check_refused(&answer, 403, "permission_denied");
        assert!(answer.problem().2.contains("`Host`"), "{hosts:?}");
    }
    // Nothing is judged that says not, or not once, whom it is for (RFC 9112, section 3.2).
    for hosts in [&[][..], &[address.as_str(), &address], &[&address, &names[0]], &["a b"]] {
        check_refused(&ask_as(hosts, LIST), 400, "invalid_argument");
    }
    // A target in absolute form has the last word on whom the client asks.
    let target = |authority: &str| format!("http://{authority}{LIST}");
    check_refused(&ask_as(&[&address], &target(&names[0])), 403, "permission_denied");
    check_refused(&ask_as(&[&address], &target(&other_port)), 403, "permission_denied");
    check_refused(&ask_as(&[&address], &target(&format!("user@{address}"))), 403, "permission_denied");
    check_refused(&ask_as(&[&names[0]], &target(&address)), 403, "permission_denied");
    check_refused(&ask_as(&[], &target(&address)), 400, "invalid_argument");
    assert_eq!(ask_as(&[&address], &target(&address)).status, 200);
    for host_name in [format!("localhost:{port}"), format!("[::1]:{port}"), format!("10.0.0.1:{port}")] {
        assert_eq!(ask_as(&[&host_name], LIST).status, 200, "{host_name}");
    }
    host.stop();
}

#[test]
fn forms_are_refused_and_what_is_no_object_as_well() {
    let host = builder().start();
    let address = host.admin_address();
    let post = |content_type: Option<&str>, body: &str| {
        let content_type = content_type.map(|value| format!("content-type: {value}\r\n")).unwrap_or_default();
        host.admin_raw(format!(
            "POST {RELOAD} HTTP/1.1\r\nhost: {address}\r\nauthorization: {TOKEN}\r\nconnection: close\r\n\
             {content_type}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    for content_type in [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("text/plain; application/json"),
    ] {
        for body in ["", "{}"] {
            check_refused(&post(content_type, body), 415, "invalid_argument");
        }
    }
    check_refused(&post(Some("application/json"), "[]"), 400, "invalid_argument");
    let too_long = format!("{{{}}}", " ".repeat(64 * 1024));
    check_refused(&post(Some("application/json"), &too_long), 413, "invalid_argument");
    assert_eq!(host.plugin_status("changing")["generation"], 1);
    for (body, generation) in [("", 2), (" {}", 3), ("{\"allow_breaking\": true}", 4)] {
        let answer = post(Some("Application/JSON"), body);
        assert_eq!((answer.status, &answer.json()["generation"]), (200, &json!(generation)));
    }
    host.stop();
}

#[test]
fn the_audit_log_names_the_token_and_whom_it_refused() {
    let host = builder().start();
    let address = host.admin_address();
    assert_eq!(ask_well(&host, "POST", RELOAD, &[]).status, 200);
    let lines = audit(&host, 1);
    assert_eq!((&lines[0]["who"], &lines[0]["action"]), (&json!("admin.token"), &json!("reload")));
    assert_eq!((&lines[0]["plugin"], &lines[0]["result"]), (&json!("changing"), &json!("done")));
    assert!(lines[0].get("uid").is_none(), "{}", lines[0]);
    assert_eq!(host.reload("changing").status, 200);
    let lines = audit(&host, 2);
    assert!(lines[1].get("who").is_none() && lines[1]["uid"].is_u64(), "{}", lines[1]);

    // Reading changes nothing, and a wrong type is not an attack.
    check_refused(&ask(&host, "GET", LIST, &[("host", &address)]), 401, "unauthenticated");
    let rebound = [("host", "x"), ("authorization", TOKEN), ("content-type", "application/json")];
    check_refused(&ask(&host, "POST", RELOAD, &rebound), 403, "permission_denied");
    let wrong = [("host", address.as_str()), ("authorization", "canary-of-a-wrong-token")];
    check_refused(&ask(&host, "POST", &format!("{RELOAD}?token={TOKEN}"), &wrong), 401, "unauthenticated");
    let lines = audit(&host, 4);
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, reason) in lines[2..].iter().zip(["`Host`", "token"]) {
        assert_eq!(line["request"], format!("POST {RELOAD}"));
        assert!(line["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        let result = line["result"].as_str().unwrap();
        assert!(result.starts_with("refused: ") && result.contains(reason), "{line}");
    }
    for _ in 0..100 {
        check_refused(&ask(&host, "POST", RELOAD, &wrong), 401, "unauthenticated");
    }
    assert_eq!(ask_well(&host, "POST", "/admin/v1/plugins/changing/unload", &[]).status, 200);
    host.wait_for_log("\"action\":\"unload\"");
    let lines = audit(&host, 5);
    let refused = lines.iter().filter(|line| line.get("from").is_some()).count();
    // 20 lines a minute, of two minutes at most.
    assert!((20..=40).contains(&refused), "strangers do not fill the log: {refused} lines");
    host.stop();
}

#[test]
fn the_token_shows_in_no_log_dump_or_error() {
    let with = |more: &str| builder().config("log.level = \"trace\"").config(more);
    let check = |what: &str, text: &str| {
        assert!(!text.is_empty());
        assert!(!text.contains("canary"), "{what} shows the token: {text}");
    };
    let checked = with("").run(&["check", "--output", "json"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    check("check", &format!("{}{}", checked.stdout, checked.stderr));
    let shown: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(shown["config"]["admin"]["token"], "[redacted]");
    assert_eq!(shown["config"]["admin"]["listen"], "127.0.0.1:0");
    check("an error", &with("server.queue_max = \"many\"").run(&["check"]).stderr);

    let host = with("").start();
    assert_eq!(ask_well(&host, "GET", LIST, &[]).status, 200);
    assert_eq!(ask_well(&host, "POST", RELOAD, &[]).status, 200);
    check_refused(&ask_well(&host, "POST", RELOAD, &[("origin", "null")]), 403, "permission_denied");
    host.wait_for_log("\"result\":\"refused: ");
    check("the log", &host.log());
    host.stop();
}

#[test]
fn silent_strangers_block_neither_the_socket_nor_the_end() {
    let host = builder().start();
    let address = host.admin_address();
    // More than the listener has places for.
    let silent: Vec<TcpStream> = (0..70).map(|_| TcpStream::connect(&address).unwrap()).collect();
    assert_eq!(host.reload("changing").status, 200);
    drop(silent);
    assert_eq!(ask_well(&host, "GET", LIST, &[]).status, 200, "places are given back");
    // Without `connection: close`: a refused client does not keep its connection.
    let refused = host.admin_raw(format!("GET {LIST} HTTP/1.1\r\nhost: {address}\r\n\r\n"));
    assert_eq!(refused.header("connection"), Some("close"));
    let _silent = TcpStream::connect(&address).unwrap();
    host.stop();
}

#[test]
fn wrong_settings_end_it_with_a_sentence() {
    let check = |config: &str, sentence: &str| {
        let builder = Daemon::builder().config(config);
        for exit in [builder.run(&["check"]), builder.run_to_end()] {
            assert_eq!(exit.code, Some(2), "{}", exit.stderr);
            assert!(exit.stderr.contains(sentence), "{:?} lacks {sentence:?}", exit.stderr);
            assert!(!exit.stderr.contains("canary"), "{}", exit.stderr);
        }
    };
    check("admin.listen = \"127.0.0.1:0\"", "config.toml line 1: `admin.listen` needs `admin.token`");
    check(
        "admin.token = \"canary-of-the-admin-token\"",
        "config.toml line 1: `admin.token` needs `admin.listen`",
    );
    let token = |token: &str| format!("admin.listen = \"127.0.0.1:0\"\nadmin.token = {token:?}");
    let rule = "line 2: `admin.token` must be at least 16 printable ASCII characters without spaces: \
                `framex-host keygen` makes one";
    check(&token("canary-of-admin"), rule);
    check(
        &token("env:NOT_SET"),
        "line 2: `admin.token` has its secret in variable `NOT_SET`, which is not set",
    );
    check(
        &format!("admin.listen = \"localhost\"\nadmin.token = {TOKEN:?}"),
        "line 1: `admin.listen` must be an IP address and a port, as in `127.0.0.1:9090`",
    );

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let exit = Daemon::builder()
        .config(&format!("admin.listen = \"{address}\"\nadmin.token = {TOKEN:?}"))
        .run_to_end();
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    let sentence = format!("cannot listen on {address} for the admin API: Address already in use");
    assert!(exit.stderr.contains(&sentence) && exit.stderr.contains("set admin.listen"), "{}", exit.stderr);
}

#[test]
fn a_listener_that_others_reach_is_warned_of() {
    let check = |listen: &str, warns: bool| {
        let config = format!("admin.listen = {listen:?}\nadmin.token = \"env:ADMIN_TOKEN\"");
        let exit = Daemon::builder().config(&config).variable("ADMIN_TOKEN", TOKEN).run(&["check"]);
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert_eq!(exit.stderr.contains("is not encrypted"), warns, "{}", exit.stderr);
    };
    check("0.0.0.0:9090", true);
    check("[::]:9090", true);
    check("[::1]:9090", false);
}

#[test]
fn probes_need_no_token_and_are_told_names_alone() {
    let host = builder().plugin_bytes("libbroken.so", b"not a library").start();
    let address = host.admin_address();
    for path in ["/health", "/ready"] {
        assert_eq!(ask(&host, "GET", path, &[("host", &address)]).status, 200, "{path}");
        check_refused(&ask(&host, "GET", path, &[("host", "evil.test")]), 403, "permission_denied");
        check_refused(&ask(&host, "POST", path, &[("host", &address)]), 401, "unauthenticated");
    }
    let failed =
        |headers: &[(&str, &str)]| ask(&host, "GET", "/ready", headers).json()["failed_plugins"].clone();
    assert_eq!(failed(&[("host", &address)]), json!([{ "plugin": "libbroken.so" }]));
    assert!(failed(&[("host", &address), ("authorization", TOKEN)])[0]["reason"].is_string());
    host.stop();
}

#[test]
fn audit_lines_come_at_every_log_level() {
    for level in ["warn", "error"] {
        let host = builder().variable("FRAMEX_LOG__LEVEL", level).start_quietly();
        assert_eq!(host.reload("changing").status, 200);
        let lines = audit(&host, 1);
        assert_eq!((&lines[0]["action"], &lines[0]["result"]), (&json!("reload"), &json!("done")));
        assert!(!host.log().contains("\"message\":\"listening\""), "{}", host.log());
        host.stop();
    }
}
