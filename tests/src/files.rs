//! The files of the build.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// The folder of this build profile, `target/debug` for example.
///
/// # Panics
/// If a test runs from elsewhere than cargo's `deps` folder.
#[must_use]
pub fn target_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let deps = test.parent().expect("a file is in a folder");
    deps.parent().expect("deps is in the profile's folder").to_owned()
}

/// The daemon's binary.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn host_binary() -> PathBuf {
    built(target_folder().join("framex-host"))
}

/// A command of the daemon's binary, without the variables of this process: those alone stay that set a sanitizer's
/// options. `scripts/sanitize.sh` has the words of a tool in `TESTS_RUNNER`, which then runs the binary.
#[must_use]
pub fn host_command() -> Command {
    host_command_under(&[], host_binary())
}

/// The binary of the host from before frames were bound to their receiver (`scripts/older-host.sh` builds it).
///
/// # Panics
/// If it was not built.
#[must_use]
pub(crate) fn older_host_binary() -> PathBuf {
    let target = target_folder();
    let target = target.parent().expect("a profile's folder is in the folder of the target");
    let binary = target.join("older/framex-host");
    assert!(binary.exists(), "{} is missing: run scripts/older-host.sh", binary.display());
    binary
}

/// As [`host_command`], by a program that ends in running what follows its own arguments.
pub(crate) fn host_command_under(wrapper: &[String], binary: PathBuf) -> Command {
    let runner = std::env::var("TESTS_RUNNER").unwrap_or_default();
    let wrapped = wrapper.iter().map(String::as_str).chain(runner.split_whitespace());
    let mut words = wrapped.map(OsString::from).chain([binary.into_os_string()]);
    let mut command = Command::new(words.next().expect("the binary at least is one"));
    command.args(words).env_clear();
    command.envs(std::env::var_os("ASAN_OPTIONS").map(|options| ("ASAN_OPTIONS", options)));
    command
}

/// Returns whether the daemons run under a tool that takes memory for itself, so that figures of memory say nothing:
/// `scripts/sanitize.sh` sets `TESTS_INSTRUMENTED`.
#[must_use]
pub fn is_instrumented() -> bool {
    std::env::var_os("TESTS_INSTRUMENTED").is_some()
}

/// The library of a plugin crate.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn plugin_file(krate: &str) -> PathBuf {
    let name = format!(
        "{}{}{}",
        std::env::consts::DLL_PREFIX,
        krate.replace('-', "_"),
        std::env::consts::DLL_SUFFIX
    );
    built(target_folder().join(name))
}

fn built(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` before the tests", path.display());
    path
}
