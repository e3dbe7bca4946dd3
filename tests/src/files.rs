//! Where the build put things.

use std::path::PathBuf;

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
