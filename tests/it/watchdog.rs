//! Functions that hold worker threads: they are named, and what must go on goes on.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use framex_tests::{Authority, Client, Daemon, TlsClient, send, until};
use serde_json::{Value, json};
use tempfile::TempDir;

const HOLDS: &str = "misbehave.functions.holds_worker";

/// The wait of `holds_worker`: a socket that is silent for a while.
struct Hold {
    folder: TempDir,
    release: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Hold {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("hold")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (release, released) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            while released.recv_timeout(Duration::from_millis(2)) == Err(mpsc::RecvTimeoutError::Timeout) {
                match listener.accept() {
                    Ok((stream, _)) => held.push(stream),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            // Later connections are refused with the listener.
            drop(listener);
            for mut stream in held {
                // The host may have ended.
                let _gone = stream.write_all(b"go\n");
            }
        });
        Self { folder, release, thread }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("hold")
    }

    fn arguments(&self) -> Value {
        json!({ "socket": self.path() })
    }

    fn release(self) {
        self.release.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// Has every worker held.
fn hold_all(host: &Daemon, hold: &Hold) -> Vec<framex_tests::Pending> {
    let workers = std::thread::available_parallelism().unwrap().get();
    let calls = (0..workers * 2).map(|_| host.begin(HOLDS, &hold.arguments())).collect();
    until("all workers are held", || host.metric("framex_workers_held") == workers as f64);
    calls
}

#[test]
fn a_function_that_holds_a_worker_is_named() {
    let host = Daemon::builder().plugin("misbehave").start();
    assert_eq!(host.call("misbehave.functions.sleeps", &json!({ "ms": 300 })).status, 200);
    let hold = Hold::new();
    let call = host.begin(HOLDS, &hold.arguments());
    host.wait_for_log("a function holds a worker thread");
    let line = host.log().lines().find(|line| line.contains("a function holds a worker")).unwrap().to_owned();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["function"]), (&json!("WARN"), &json!(HOLDS)));
    assert!(line["held_ms"].as_u64().unwrap() >= 100, "{line}");
    assert_eq!(host.metric("framex_workers_held"), 1.0);
    hold.release();
    assert_eq!(call.answer().json(), json!("go\n"));
    let held = format!("framex_function_held_worker_total{{function=\"{HOLDS}\"}}");
    assert_eq!(host.metric(&held), 1.0, "one poll counts once");
    assert_eq!(
        host.metric("framex_function_held_worker_total{function=\"misbehave.functions.sleeps\"}"),
        0.0
    );
    host.stop();
}

/// tokio has one worker wait for all sockets, and it may be the one that is held.
#[test]
fn the_other_workers_go_on_while_one_is_held() {
    let host = Daemon::builder().plugin("misbehave").start();
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return;
    }
    for _ in 0..10 {
        let hold = Hold::new();
        let call = host.begin(HOLDS, &hold.arguments());
        until("a worker is held", || host.metric("framex_workers_held") == 1.0);
        for _ in 0..5 {
            assert_eq!(host.call("misbehave.functions.sleeps", &json!({ "ms": 5 })).json(), json!(5));
        }
        hold.release();
        assert_eq!(call.answer().json(), json!("go\n"));
    }
    host.stop();
}

#[test]
fn the_admin_api_answers_while_all_workers_are_held() {
    let config = "admin.listen = \"127.0.0.1:0\"\nadmin.token = \"0123456789abcdef\"";
    let host = Daemon::builder().config(config).plugin("misbehave").start();
    let hold = Hold::new();
    let calls = hold_all(&host, &hold);
    let begun = Instant::now();
    for path in
        ["/health", "/ready", "/metrics", "/admin/v1/plugins", "/admin/v1/functions", "/admin/v1/peers"]
    {
        assert_eq!(host.admin_get_at(path).status, 200, "{path}");
    }
    let address = host.logged("the admin API listens")["address"].as_str().unwrap().to_owned();
    assert_eq!(framex_tests::get(&format!("http://{address}/health")).json()["status"], "ok");
    assert_eq!(host.run(&["ready"]).code, Some(0));
    let warnings = host.admin_get_at("/ready").json()["warnings"].clone();
    assert!(warnings[0].as_str().unwrap().starts_with("functions hold "), "{warnings}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    hold.release();
    for call in calls {
        let _answered_or_refused = call.answer();
    }
    assert_eq!(host.reload("misbehave").status, 200);
    host.stop();
}

/// A probe may not reach the admin listener. A call that arrives meanwhile waits for the workers.
#[test]
fn the_public_listener_answers_probes_while_all_workers_are_held() {
    let host = Daemon::builder().plugin("misbehave").start();
    let hold = Hold::new();
    let held = hold_all(&host, &hold);
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(host.get("/health").json()["status"], "ok");
        let ready = host.get("/ready").json();
        let warning = ready["warnings"][0].as_str().unwrap();
        assert!(ready["status"] == "ready" && warning.starts_with("functions hold "), "{ready}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // Kept connections, one of which has asked already.
    let (clients, url) = ([Client::default(), Default::default()], host.url());
    assert_eq!(
        clients[0].send("GET", &format!("{url}/health"), &[], b"").header("connection"),
        Some("close")
    );
    let mut ahead = TcpStream::connect(host.address()).unwrap();
    let (waiting, given_up) = std::thread::scope(|scope| {
        let call = |client: &Client| {
            client.post(&format!("{url}/api/v1/functions/misbehave.functions.sleeps"), &json!({ "ms": 5 }))
        };
        let waiting = clients.each_ref().map(|client| scope.spawn(move || call(client)));
        let given_up = host.begin("misbehave.functions.sleeps", &json!({ "ms": 60_000 }));
        until("the calls have arrived", || host.metric("framex_connections") >= 3.0);
        assert_eq!(host.get("/health").status, 200);
        hold.release();
        (waiting.map(|call| call.join().unwrap()), given_up)
    });
    for answer in waiting {
        assert_eq!((answer.status, answer.json()), (200, json!(5)));
    }
    drop(given_up);
    for call in held {
        let _answered_or_refused = call.answer();
    }
    until("the workers are free", || host.metric("framex_workers_held") == 0.0);
    until("no call is left behind", || host.metric("framex_calls_in_flight") == 0.0);
    // A pool may connect long before it asks.
    std::thread::park_timeout(Duration::from_millis(700));
    ahead.write_all(b"GET /health HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let mut answer = String::new();
    ahead.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    until("the workers accept again", || {
        let answer = clients[0]
            .post(&format!("{url}/api/v1/functions/misbehave.functions.sleeps"), &json!({ "ms": 1 }));
        assert_eq!(answer.json(), json!(1));
        answer.header("connection").is_none()
    });
    host.stop();
}

#[test]
fn probes_are_answered_while_calls_that_wait_for_the_workers_take_all_connections() {
    let most = std::thread::available_parallelism().unwrap().get() * 2 + 2;
    let config = format!("server.connections_max = {most}");
    let host = Daemon::builder().config(&config).plugin("misbehave").start();
    let hold = Hold::new();
    let mut calls = hold_all(&host, &hold);
    let sleeps = "misbehave.functions.sleeps";
    calls.extend((0..2).map(|_| host.begin(sleeps, &json!({ "ms": 1 }))));
    until("all connections are taken", || host.metric("framex_connections") >= most as f64);
    let begun = Instant::now();
    let silent: Vec<_> = (0..6).map(|_| TcpStream::connect(host.address()).unwrap()).collect();
    for path in ["/health", "/ready", "/health"] {
        let answer = host.get(path);
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{path}");
    }
    let refused = host.call(sleeps, &json!({ "ms": 1 }));
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(refused.json()["executed"], json!(false), "{}", refused.json());
    let refused = host.get("/api/v1/functions");
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("overloaded")));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(silent);
    hold.release();
    for call in calls {
        let _answered_or_refused = call.answer();
    }
    until("calls are taken again", || host.call(sleeps, &json!({ "ms": 1 })).status == 200);
    host.stop();
}

#[test]
fn probes_over_tls_are_answered_while_all_workers_are_held() {
    let authority = Authority::default();
    let host = Daemon::builder().plugin("misbehave");
    authority.issue(&["localhost"]).put(host.folder(), "host");
    let host = host.config("[server.tls]\ncert = \"host.pem\"\nkey = \"host-key.pem\"").start();
    let client = TlsClient::new(&authority, None, &[&rustls::version::TLS13]);
    let hold = Hold::new();
    let arguments = hold.arguments();
    let workers = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| client.call(host.address(), HOLDS, &arguments).unwrap());
        }
        until("all workers are held", || host.metric("framex_workers_held") == workers as f64);
        for path in ["/health", "/ready"] {
            assert_eq!(client.send(host.address(), "GET", path, &[], b"").unwrap().status, 200, "{path}");
        }
        hold.release();
    });
    host.stop();
}

#[test]
fn sigterm_ends_a_host_whose_workers_are_all_held() {
    let mut host = Daemon::builder().config("server.drain_timeout_ms = 2000").plugin("misbehave").start();
    let hold = Hold::new();
    let calls = hold_all(&host, &hold);
    let begun = Instant::now();
    host.signal("TERM");
    until("connections are refused", || TcpStream::connect(host.address()).is_err());
    assert!(!host.log().contains("the drain deadline passed"), "{}", host.log());
    host.wait_for_log("the drain deadline passed with calls in flight");
    assert_eq!(host.wait(), Some(0), "{}", host.log());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}\n{}", begun.elapsed(), host.log());
    host.wait_for_log("plugins are not stopped: functions hold all workers");
    hold.release();
    drop(calls);
}

#[test]
fn a_second_signal_ends_a_host_whose_workers_are_all_held() {
    let mut host = Daemon::builder().plugin("misbehave").start();
    let hold = Hold::new();
    let calls = hold_all(&host, &hold);
    host.signal("TERM");
    host.wait_for_log("stopping: calls in flight may end");
    host.signal("TERM");
    assert_eq!(host.wait(), Some(143), "{}", host.log());
    hold.release();
    drop(calls);
}

/// The answer to a call of a function that holds its worker for longer than the call's deadline of 300 ms.
fn late(host: &Daemon) -> framex_tests::Answer {
    let hold = Hold::new();
    let url = format!("{}/api/v1/functions/{HOLDS}", host.url());
    let body = hold.arguments().to_string();
    let caller = std::thread::spawn(move || {
        let headers = [("content-type", "application/json"), ("x-framex-timeout-ms", "300")];
        send("POST", &url, &headers, body.as_bytes())
    });
    std::thread::park_timeout(Duration::from_millis(1500));
    hold.release();
    caller.join().unwrap()
}

#[test]
fn a_deadline_that_a_function_oversleeps_is_exceeded_here_as_on_a_peer() {
    let key = "[plugins.proxy.auth]\nrules = {\"/api/v1/proxy/remote\" = [\"c2l4dGVlbiBieXRlcyBhbmQgc29tZSBtb3Jl\"]}\n";
    let b = Daemon::builder().config("host_id = \"b\"").config(key).plugin("misbehave").start();
    let config = format!(
        "host_id = \"a\"\nplugins.proxy.proxy_urls = [\"{0}\"]\nplugins.proxy.proxy_functions = {{\"{0}\" = [\"{HOLDS}\"]}}\n",
        b.url()
    );
    let a = Daemon::builder().config(&config).config(key).plugin("misbehave").start();
    for host in [&b, &a] {
        let answer = late(host);
        let (status, code, detail) = answer.problem();
        assert_eq!((status, code.as_str()), (504, "deadline_exceeded"), "{detail}");
        assert_eq!(
            answer.json()["executed"],
            if std::ptr::eq(host, &b) { json!(true) } else { json!(null) },
            "{detail}"
        );
    }
    b.wait_for_log("a function holds a worker thread");
    a.stop();
    b.stop();
}
