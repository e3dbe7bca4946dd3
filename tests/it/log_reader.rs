//! The reader of the log is gone, stuck, slow or full, and the host works as before.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::time::{Duration, Instant};

use framex_tests::{Daemon, DaemonBuilder, FreeAddress, host_command};
use serde_json::{Value, json};

const DROPPED: &str = "framex_log_lines_dropped_total";
/// The capacity of a pipe on Linux.
const PIPE_BYTES: usize = 65_536;

fn builder() -> DaemonBuilder {
    // A peer that is down, and of which the log says so.
    let config = "plugins.proxy.proxy_urls = [\"http://127.0.0.1:1\"]\nplugins.proxy.wait_ms = 0\n\
                  plugins.proxy.proxy_functions = {\"http://127.0.0.1:1\" = [\"there.only\"]}";
    Daemon::builder().config(config).plugin("misbehave").plugin("demo")
}

fn log(host: &Daemon, times: usize) {
    for _ in 0..times {
        let answer = host.call("misbehave.functions.logs", &json!({ "text": "x".repeat(4096) }));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// A pipe that is full.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![b'\n'; PIPE_BYTES]).unwrap();
    (reader, writer)
}

/// Calls, panics, reloads, and the end.
fn check_works(mut host: Daemon) {
    log(&host, 50);
    assert_eq!(host.get("/health").status, 200);
    let panics = host.call("misbehave.functions.panics", &json!({ "message": "said to a closed pipe" }));
    assert_eq!(panics.problem().1, "panic");
    assert_eq!(host.call("there.only", &json!({})).problem().1, "unavailable");
    assert_eq!(host.reload("misbehave").status, 200);
    assert_eq!(host.reload_host().status, 200);
    assert_eq!(host.plugin_status("misbehave")["generation"], 2);
    log(&host, 1);
    let begun = Instant::now();
    host.signal("TERM");
    assert_eq!(host.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn a_full_disk_changes_nothing_and_lines_are_counted() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let host = builder().start_with_stderr(FreeAddress::find(), full);
    log(&host, 1);
    framex_tests::until("lines are counted as lost", || host.metric(DROPPED) > 3.0);
    check_works(host);
}

#[test]
fn a_reader_that_goes_away_changes_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    let host = builder().start_with_stderr(FreeAddress::find(), writer);
    drop(reader);
    check_works(host);
}

/// The log line about it goes nowhere, and must not end the task that accepts connections.
#[test]
fn a_lack_of_descriptors_closes_no_port_while_the_log_is_stuck() {
    let (reader, writer) = std::io::pipe().unwrap();
    let few = builder().wrapper(&["/bin/sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"]);
    let host = few.start_with_stderr(FreeAddress::find(), writer);
    drop(reader);
    let connect = || std::net::TcpStream::connect(host.address()).unwrap();
    let connections: Vec<_> = (0..100).map(|_| connect()).collect();
    framex_tests::until("no descriptor is left", || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap().count();
        open >= 64
    });
    // Long enough for several attempts to accept another one.
    std::thread::park_timeout(Duration::from_millis(300));
    drop(connections);
    framex_tests::until("connections are accepted", || host.get("/health").status == 200);
    check_works(host);
}

#[test]
fn a_log_that_is_closed_changes_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    let closed = builder().wrapper(&["/bin/sh", "-c", "exec \"$@\" 2>&-", "sh"]);
    let host = closed.start_with_stderr(FreeAddress::find(), writer);
    check_works(host);
    drop(reader);
}

#[test]
fn a_reader_that_is_stuck_holds_nothing() {
    let (reader, writer) = full_pipe();
    let host = builder().start_with_stderr(FreeAddress::find(), writer);
    check_works(host);
    drop(reader);
}

#[test]
fn a_reader_that_comes_back_is_told_what_it_missed() {
    let (reader, writer) = full_pipe();
    let host = builder().start_with_stderr(FreeAddress::find(), writer);
    // Three lines a call, more than wait at most.
    log(&host, 1);
    while host.metric(DROPPED) == 0.0 {
        let answer = host.call("misbehave.functions.logs_lines", &json!({ "count": 10_000 }));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(reader).lines().map(Result::unwrap).filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}")))
            .collect::<Vec<Value>>()
    });
    host.stop();
    let lines = reader.join().unwrap();
    let told = lines
        .iter()
        .find(|line| line["message"].as_str().unwrap_or_default().starts_with("lines of the log"));
    assert!(told.unwrap()["lines"].as_u64().unwrap() > 0, "{told:?}");
    assert!(lines.iter().any(|line| line["message"] == "stopped"), "the end is in it: {:?}", lines.last());
}

#[test]
fn a_pipe_that_does_not_block_gets_whole_lines() {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let host = builder().start_with_stderr(FreeAddress::find(), writer);
    log(&host, 40);
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        begun.recv().unwrap();
        let lines = BufReader::new(reader).lines().map(Result::unwrap);
        lines.inspect(|line| assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}")).count()
    });
    log(&host, 40);
    begin.send(()).unwrap();
    host.stop();
    assert!(reader.join().unwrap() > 160, "an error and an info of each call");
}

#[test]
fn the_first_line_says_what_runs() {
    let host = builder().start();
    let log = host.log();
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!((&first["message"], &first["pid"]), (&json!("framex-host starts"), &json!(host.pid())));
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(first["config"], host.folder().join("config.toml").to_str().unwrap());
    assert_eq!(host.get("/health").json()["version"], env!("CARGO_PKG_VERSION"));
    host.stop();
}

#[test]
fn a_reader_that_reads_gets_every_line() {
    const LINES: usize = 100_000;
    let host = builder().start();
    let begun = Instant::now();
    assert_eq!(host.call("misbehave.functions.logs_lines", &json!({ "count": LINES })).status, 200);
    println!("{LINES} lines in {:?}", begun.elapsed());
    host.wait_for_log(&format!("line={}", LINES - 1));
    assert_eq!(host.log().matches("one of many lines").count(), LINES);
    assert_eq!(host.metric(DROPPED), 0.0);
    host.stop();
}

/// The exit code of a command whose error output is stuck.
fn check_ends(mut command: std::process::Command, code: i32) {
    let (reader, writer) = full_pipe();
    let mut child = command.stdin(std::process::Stdio::null()).stderr(writer).spawn().unwrap();
    let begun = Instant::now();
    framex_tests::until("the command ends", || {
        std::fs::read_to_string(format!("/proc/{}/stat", child.id())).is_ok_and(|stat| stat.contains(") Z "))
    });
    assert_eq!(child.wait().unwrap().code(), Some(code), "{:?}", begun.elapsed());
    drop(reader);
}

#[test]
fn commands_end_with_their_code_even_if_their_errors_are_not_read() {
    let with = |arguments: &[&str]| {
        let mut command = host_command();
        command.args(arguments);
        command
    };
    check_ends(with(&["--no-such-flag"]), 2);
    check_ends(with(&["--config", "/nonexistent/config.toml", "--log-level", "loud"]), 2);
    check_ends(with(&["call", "a.b", "--url", "http://127.0.0.1:1"]), 1);
}
