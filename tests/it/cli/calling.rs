//! `call`: where arguments and keys come from.

use std::fs;
use std::process::Stdio;

use framex_tests::{Daemon, Exit, host_command, run_to_end};

use super::{ADA, DEMO, check};

const NO_KEY: &str = "error: unauthenticated, HTTP status 401: no key was sent: this path needs one, as in \
                      `Authorization: Bearer KEY`; name it with --key or FRAMEX_KEY\n";
const WRONG_KEY: &str =
    "error: unauthenticated, HTTP status 401: the key that was sent does not open this path\n";

#[test]
fn arguments_come_from_standard_input_and_from_files() {
    let host = Daemon::builder().plugin("demo").start();
    let file = host.folder().join("arguments.json");
    fs::write(&file, ADA).unwrap();
    let call = |said: &str, input: Stdio| {
        let mut command = host_command();
        command.args(["call", DEMO, "--json", said, "--url", &host.url()]).current_dir(host.folder());
        run_to_end(command.stdin(input))
    };
    check(&call("-", fs::File::open(&file).unwrap().into()), 0, "7: Ada\n", "");
    check(&call("@arguments.json", Stdio::null()), 0, "7: Ada\n", "");
    let gone = call("@not-there.json", Stdio::null());
    let expected = "error: --json: not-there.json cannot be read: No such file or directory (os error 2)\n";
    check(&gone, 2, "", expected);
    host.stop();
}

#[test]
fn arguments_that_are_not_json_are_bad_usage_and_call_nothing() {
    let host = Daemon::builder().plugin("misbehave").start();
    fs::write(host.folder().join("empty.json"), "\n").unwrap();
    let call = |said: &str, input: Stdio| -> Exit {
        let mut command = host_command();
        command.args(["call", "misbehave.functions.counts", "--json", said, "--url", &host.url()]);
        run_to_end(command.current_dir(host.folder()).stdin(input))
    };
    let empty = "is empty: write {} for no arguments\n";
    check(&call("", Stdio::null()), 2, "", &format!("error: --json: the value {empty}"));
    // As in `false | framex-host call NAME --json -`.
    check(&call("-", Stdio::null()), 2, "", &format!("error: --json: standard input {empty}"));
    check(&call("@empty.json", Stdio::null()), 2, "", &format!("error: --json: empty.json {empty}"));
    for broken in ["{'a'", "{", "{\"a\": 1} x", "nonsense"] {
        let exit = call(broken, Stdio::null());
        assert_eq!((exit.code, exit.stdout.as_str()), (Some(2), ""), "{broken}");
        assert!(
            exit.stderr.starts_with("error: --json: the value is not JSON: "),
            "{broken}: {}",
            exit.stderr
        );
    }
    for other in ["[1]", "7", "null", "\"text\""] {
        let expected = "error: --json: the value is not an object of named arguments, such as {\"id\": 7}\n";
        check(&call(other, Stdio::null()), 2, "", expected);
    }
    check(&call("{}", Stdio::null()), 0, "1\n", "");
    host.stop();
}

#[test]
fn keys_come_from_a_flag_a_variable_or_a_file_as_in_the_config() {
    let host = Daemon::builder().config(r#"auth.rules = { "/api/*" = ["the-key"] }"#).plugin("demo").start();
    fs::write(host.folder().join("web.key"), "the-key\n").unwrap();
    let call = |key: &[&str], variables: &[(&str, &str)]| {
        let mut command = host_command();
        command.env("FRAMEX_URL", host.url()).envs(variables.iter().copied()).stdin(Stdio::null());
        run_to_end(command.args(["call", DEMO, "--json", ADA]).args(key).current_dir(host.folder()))
    };
    check(&call(&[], &[]), 1, "", NO_KEY);
    check(&call(&["--key", "canary"], &[]), 1, "", WRONG_KEY);
    check(&call(&["--key", "the-key"], &[]), 0, "7: Ada\n", "");
    check(&call(&["--key", "file:web.key"], &[]), 0, "7: Ada\n", "");
    check(&call(&["--key", "env:MY_KEY"], &[("MY_KEY", "the-key")]), 0, "7: Ada\n", "");
    for said in ["the-key", "file:web.key"] {
        check(&call(&[], &[("FRAMEX_KEY", said)]), 0, "7: Ada\n", "");
    }
    let unset = "error: --key has its secret in variable `MY_KEY`, which is not set\n";
    check(&call(&["--key", "env:MY_KEY"], &[]), 2, "", unset);
    let gone = "error: --key has its secret in file `gone.key`, which does not exist\n";
    check(&call(&["--key", "file:gone.key"], &[]), 2, "", gone);
    let lines = "error: --key has characters that a header cannot have\n";
    check(&call(&["--key", "two\nlines"], &[]), 2, "", lines);
    host.stop();
}
