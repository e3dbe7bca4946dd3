//! Results of commands that cannot be written: a failure, unless the reader has closed the pipe.

use std::fs::File;
use std::process::{Command, Stdio};

use framex_tests::{Daemon, host_command};

fn command(host: Option<&Daemon>, arguments: &[&str]) -> Command {
    let mut command = host_command();
    if let Some(host) = host {
        command.env("FRAMEX_URL", host.url()).arg("--config").arg(host.folder().join("config.toml"));
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn check(host: Option<&Daemon>, arguments: &[&str]) {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command(host, arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.starts_with("error: the result cannot be written to the standard output: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(host, arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    for arguments in [
        &["keygen"][..],
        &["--output", "json", "keygen"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["--help"],
        &["call", "--help"],
        &["--version"],
    ] {
        check(None, arguments);
    }
    let host = Daemon::builder().plugin("demo").start();
    let arguments = r#"{"id": 7, "user": {"id": 7, "name": "Ada"}}"#;
    for arguments in [
        &["call", "demo.some.example_func", "--json", arguments][..],
        &["--output", "json", "call", "demo.some.example_func", "--json", arguments],
        &["functions"],
        &["plugins", "list"],
        &["plugins", "show", "demo"],
        &["plugins", "reload", "demo"],
        &["explain", "demo.some.example_func"],
        &["peers"],
        &["reload"],
        &["ready"],
        &["check"],
    ] {
        check(Some(&host), arguments);
    }
    host.stop();
}

#[test]
fn a_pipe_that_does_not_block_gets_the_whole_result() {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let mut child = command(None, &["completions", "bash"]).stdout(writer).spawn().unwrap();
    let script = std::io::read_to_string(reader).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(script.contains("complete -F _framex__host"), "{script}");
}
