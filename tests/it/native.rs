//! Effects of native libraries on the process that they are mapped into: nothing ends the host, what it relies on is
//! put back with the plugin named, and what stays mapped is counted with its reason.

mod ends;
mod environment;
mod process;
mod signals;
mod threads;

use std::path::{Path, PathBuf};

use framex_tests::{Daemon, DaemonBuilder, broken};
use serde_json::{Value, json};

/// The library of `tests/c/hooks.c`, with flags for the compiler.
fn native(flags: &[&str]) -> Vec<u8> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let include = format!("-I{}", tests.join("../plugin-sdk/abi/include").display());
    broken::compile_c(&tests.join("c/hooks.c"), &[&["-std=c11", &include], flags].concat())
}

/// A daemon with that plugin, which does these things when it starts.
fn host(does: &[&str]) -> DaemonBuilder {
    host_with(does, &[])
}

fn host_with(does: &[&str], flags: &[&str]) -> DaemonBuilder {
    let config = format!("plugins.native.does = {does:?}");
    Daemon::builder().config(&config).plugin_bytes("libnative.so", &native(flags))
}

/// A file of `/proc/PID`.
fn proc_file(host: &Daemon, name: &str) -> PathBuf {
    format!("/proc/{}/{name}", host.pid()).into()
}

#[track_caller]
fn check_works(host: &Daemon) {
    let answer = host.call("native.works", &json!({}));
    assert_eq!((answer.status, answer.json()), (200, json!("works")), "{}", host.log());
}

/// Reloads a plugin this number of times.
#[track_caller]
fn reload(host: &Daemon, plugin: &str, times: usize) {
    for _ in 0..times {
        let answer = host.reload(plugin);
        assert_eq!(answer.status, 200, "{}\n{}", answer.json(), host.log());
    }
}

#[track_caller]
fn unload(host: &Daemon, plugin: &str) {
    let answer = host.admin_post(&format!("plugins/{plugin}/unload"), &json!({}));
    assert_eq!(answer.status, 200, "{}\n{}", answer.json(), host.log());
}

/// The reasons why retired libraries of a plugin are still mapped, the oldest first.
#[track_caller]
fn zombies(host: &Daemon, plugin: &str) -> Vec<String> {
    let status = host.plugin_status(plugin);
    let zombies = status["zombies"].as_array().unwrap();
    zombies.iter().map(|zombie| zombie["reason"].as_str().unwrap().to_owned()).collect()
}

/// The changes that a plugin's code made to the process, as the operator reads them.
#[track_caller]
fn warnings(host: &Daemon, plugin: &str) -> Value {
    host.plugin_status(plugin)["warnings"].clone()
}
