//! Text of plugins, callers and peers cannot make a line of the log or of a command's output, nor drive a terminal.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use framex_tests::{Daemon, host_command, plugin_file, post};
use serde_json::{Value, json};

/// A line break and what looks like a line of the log; sequences that clear a screen, in both forms; text that runs
/// backwards; separators that some take for line breaks.
const FORGED: &str = "x\r\n2026-01-01T00:00:00.000000Z  INFO audit: forged action=\"reload\" \u{1b}[2J\u{9b}2J\u{7f}\u{202e}\u{2028}\u{85}";

/// Returns whether a terminal or a reader of lines acts on it.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[track_caller]
fn check_line(line: &str) {
    assert!(!line.chars().any(acts), "{line:?}");
}

/// A daemon whose log is text; killed if the test fails.
struct TextHost {
    child: Child,
    url: String,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    begin: Vec<String>,
}

impl TextHost {
    fn start(folder: &std::path::Path) -> Self {
        let config = folder.join("config.toml");
        std::fs::write(&config, "server.port = 0\n[log]\nformat = \"text\"\nlevel = \"trace\"\n").unwrap();
        let mut command = host_command();
        let command = command.arg("--config").arg(config).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut begin = Vec::new();
        let url = loop {
            let line = lines.next().expect("it serves").unwrap();
            begin.push(line.clone());
            if let Some((_, rest)) = line.split_once(" listening address=") {
                break format!("http://{}", rest.split(' ').next().unwrap());
            }
        };
        Self { child, url, lines, begin }
    }

    fn call(&self, function: &str, arguments: &Value) {
        let _failed = post(&format!("{}/api/v1/functions/{function}", self.url), arguments);
    }

    /// Stops it, and answers all lines of its log.
    fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut all = std::mem::take(&mut self.begin);
        all.extend(self.lines.by_ref().map(Result::unwrap));
        assert!(self.child.wait().unwrap().success());
        all
    }
}

impl Drop for TextHost {
    fn drop(&mut self) {
        let _ended = self.child.kill();
    }
}

#[test]
fn no_line_of_the_text_log_is_forged() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir(scratch.path().join("plugins")).unwrap();
    for (krate, name) in [("misbehave", "libmisbehave.so"), ("demo", "libde\nmo\u{1b}[31m.so")] {
        std::fs::copy(plugin_file(krate), scratch.path().join("plugins").join(name)).unwrap();
    }
    std::fs::write(scratch.path().join("plugins/libbad\n2026-01-01.so"), "no library").unwrap();
    let host = TextHost::start(scratch.path());
    host.call("misbehave.functions.panics", &json!({ "message": FORGED }));
    host.call("misbehave.functions.logs", &json!({ "text": FORGED }));
    let lines = host.stop();
    for line in &lines {
        check_line(line);
        assert!(line.starts_with("20"), "not a line of its own: {line:?}");
        assert!(!line.starts_with("2026-01-01"), "forged: {line:?}");
    }
    let said = lines.iter().filter(|line| line.contains("forged action="));
    assert!(said.clone().count() >= 2, "{lines:#?}");
    for line in said {
        assert!(line.contains("\\n2026-01-01"), "{line}");
    }
}

#[test]
fn every_line_of_the_json_log_is_one_object() {
    let host = Daemon::builder().plugin("misbehave").start();
    let _panicked = host.call("misbehave.functions.panics", &json!({ "message": FORGED }));
    let _logged = host.call("misbehave.functions.logs", &json!({ "text": FORGED }));
    host.wait_for_log("forged");
    let said = |line: &Value| line["message"].as_str().is_some_and(|said| said.contains(FORGED));
    let lines: Vec<Value> = host
        .log()
        .lines()
        .inspect(|line| check_line(line))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
        .collect();
    assert!(lines.iter().any(said), "what was said is all there: {lines:#?}");
    host.stop();
}

#[test]
fn no_command_prints_what_a_terminal_acts_on() {
    let host = Daemon::builder()
        .plugin("misbehave")
        .plugin_as("demo", "libde\nmo\u{1b}[31m.so")
        .plugin_bytes("libbad\u{1b}[31m\nerror: forged.so", b"no library")
        .start();
    let ada = json!({"id": 7, "user": {"id": 7, "name": FORGED}}).to_string();
    let panics = json!({ "message": FORGED }).to_string();
    let file = host.folder().join("plugins/libde\nmo\u{1b}[31m.so");
    let commands = [
        vec!["call", "demo.some.example_func", "--json", &ada],
        vec!["call", "misbehave.functions.panics", "--json", &panics],
        vec!["plugins", "list"],
        vec!["plugins", "show", "demo"],
        vec!["plugins", "load", "libbad\u{1b}[31m\nerror: forged.so"],
        vec!["functions"],
        vec!["check"],
        vec!["inspect", file.to_str().unwrap()],
        vec!["inspect", "/nowhere/\u{1b}[2J\nerror: forged"],
    ];
    for command in &commands {
        for form in ["text", "json"] {
            let exit = host.run(&[&["--output", form], &command[..]].concat());
            for line in exit.stdout.lines().chain(exit.stderr.lines()) {
                check_line(&line.replace('\t', ""));
            }
            assert!(!exit.stderr.contains("\nerror: forged"), "{command:?}: {}", exit.stderr);
            if form == "json" {
                let lines: Vec<&str> = exit.stdout.lines().collect();
                assert_eq!(lines.len(), 1, "{command:?}: {lines:?}");
                serde_json::from_str::<Value>(lines[0]).unwrap();
            }
        }
    }
    // One row for each plugin, the head, and one line for the file that is not served.
    let list = host.run(&["plugins", "list"]).stdout;
    assert_eq!(list.lines().count(), 4, "{list}");
    assert!(list.contains("\n`libbad\\u{1b}[31m\\nerror: forged.so` is not served since "), "{list}");
    assert!(list.contains("libde\\nmo\\u{1b}[31m.so"), "{list}");
    // The text of a result may have lines of its own; as JSON it is what it was.
    let lines = json!({"id": 7, "user": {"id": 7, "name": "one\n\ttwo"}}).to_string();
    let exit = host.run(&["call", "demo.some.example_func", "--json", &lines]);
    assert_eq!(exit.stdout, "7: one\n\ttwo\n");
    let exit = host.run(&["--output", "json", "call", "demo.some.example_func", "--json", &ada]);
    let result: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(result["result"], json!(format!("7: {FORGED}")));
    host.stop();
}
