//! Notes the compiler, for the `built_with` field of a plugin's descriptor.

use std::process::Command;

fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let version = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    // "rustc 1.95.0 (59807616e 2026-04-14)": the first two words fit the field.
    let short: Vec<&str> = version.split_whitespace().take(2).collect();
    println!("cargo::rustc-env=FRAMEX_RUSTC={}", short.join(" "));
    println!("cargo::rerun-if-changed=build.rs");
}
