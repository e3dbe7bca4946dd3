//! Reloads of a running daemon: under load, of bad builds, of many at once, with the remains of builds.

mod admin;
mod bad_builds;
mod calls;
mod command_line;
mod companions;
mod disk;
mod duplicates;
mod ended;
mod host;
mod hung_disk;
mod in_force;
mod left_behind;
mod lifecycles;
mod load;
mod many;
mod probe;
mod requests;
mod restarts;
mod soak;
mod watching;

use framex_tests::{Answer, Build, Daemon, DaemonBuilder, frames};
use serde_json::{Value, json};

const BUILD: &str = "changing.functions.build";
const SOMETIMES: &str = "changing.functions.sometimes";
const WAITS: &str = "changing.functions.waits";

/// A daemon with build 1 of the changing plugin.
fn host() -> DaemonBuilder {
    Daemon::builder().build(Build::new(1))
}

/// A daemon for the sealed calls of a peer with the tests' secret.
fn sealed(builder: DaemonBuilder) -> DaemonBuilder {
    builder.config(&frames::rules(&[frames::SECRET]))
}

/// Returns what `build` returns if `build` alone serves.
fn of_build(build: Build) -> Value {
    json!([build.name(), build.name(), build.name()])
}

/// Checks that a build serves.
#[track_caller]
fn check_serves(host: &Daemon, build: Build) {
    let answer = host.call(BUILD, &json!({}));
    assert_eq!((answer.status, answer.json()), (200, of_build(build)), "{}", host.log());
}

/// Checks that a change was made; answers its report.
#[track_caller]
fn check_done(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

/// Checks that a change was refused, and returns the step that failed and the detail.
#[track_caller]
fn check_refused(answer: &Answer, status: u16, code: &str) -> (String, String) {
    let (found, found_code, detail) = answer.problem();
    assert_eq!((found, found_code.as_str()), (status, code), "{detail}");
    (answer.json()["step"].as_str().unwrap_or_default().to_owned(), detail)
}

/// Checks that nothing of retired generations is mapped: one copy for each plugin that serves.
#[track_caller]
fn check_mapped(host: &Daemon, copies: usize) {
    let mapped = host.mapped_copies();
    assert_eq!(mapped.len(), copies, "{mapped:?}\n{}", host.admin_get("plugins").json());
}
