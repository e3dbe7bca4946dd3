//! Tells the binary which commit it is built from, where that is known: in a release build from a clone of the project,
//! or with the variable `BUILD_COMMIT`. A build from a tarball says nothing of it.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    let given = std::env::var("BUILD_COMMIT").ok().filter(|commit| !commit.is_empty());
    // Other builds would be made anew for every commit.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| is_release.then(of_clone).flatten());
    if let Some(commit) = commit {
        println!("cargo::rustc-env=BUILD_COMMIT={commit}");
    }
}

/// The commit that is checked out, if the project is a repository, and not a folder in the one of something else.
fn of_clone() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let top = std::fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
    if top != std::fs::canonicalize(root).ok()? {
        return None;
    }
    for changes_with_it in ["HEAD", "logs/HEAD"] {
        println!(
            "cargo::rerun-if-changed={}",
            root.join(git(&["rev-parse", "--git-path", changes_with_it])?).display()
        );
    }
    println!("cargo::rerun-if-changed=src");
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_changed { format!("{commit}-changed") } else { commit })
}
