//! Plugin files that something is wrong with, made of the real ones.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::{plugin_file, run_to_end};

/// Offsets of the descriptor's fields (`framex_abi::PluginDescriptor`); written out, as they never move.
pub const DESCRIPTOR_ABI_MAJOR: usize = 12;
/// As above.
pub const DESCRIPTOR_ABI_MINOR: usize = 14;
/// As above.
pub const DESCRIPTOR_FLAGS: usize = 16;
/// As above.
pub const DESCRIPTOR_NAME: usize = 24;
/// Bytes of the descriptor.
const DESCRIPTOR_BYTES: u32 = 200;

/// The bytes of a plugin's library, with those at `offset` of its descriptor replaced.
///
/// # Panics
/// If the library has no descriptor.
#[must_use]
pub fn with_descriptor(krate: &str, offset: usize, replacement: &[u8]) -> Vec<u8> {
    let mut bytes = fs::read(plugin_file(krate)).expect("a built plugin can be read");
    replace_in_descriptor(&mut bytes, offset, replacement);
    bytes
}

/// As [`with_descriptor`], in the bytes of a library.
pub(crate) fn replace_in_descriptor(bytes: &mut [u8], offset: usize, replacement: &[u8]) {
    let begin = [&b"FXPLUGIN"[..], &DESCRIPTOR_BYTES.to_ne_bytes()].concat();
    let mut found = bytes.windows(begin.len()).enumerate().filter(|(_, window)| *window == begin);
    let (at, _) = found.next().expect("a plugin has a descriptor");
    assert!(found.next().is_none(), "it has one descriptor");
    bytes[at + offset..at + offset + replacement.len()].copy_from_slice(replacement);
}

/// The bytes of a plugin's library that claims to be for a machine of this `e_machine` (ELF).
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn for_machine(krate: &str, e_machine: u16) -> Vec<u8> {
    let mut bytes = fs::read(plugin_file(krate)).expect("a built plugin can be read");
    bytes[18..20].copy_from_slice(&e_machine.to_ne_bytes());
    bytes
}

/// The smallest Windows DLL: headers alone.
#[must_use]
pub fn windows_dll() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[60] = 64; // where the next header begins
    bytes.extend_from_slice(b"PE\0\0");
    let optional_header_bytes = 112_u16;
    bytes.extend_from_slice(&0x8664_u16.to_le_bytes()); // x86_64
    bytes.extend_from_slice(&[0; 14]); // no sections, no symbols
    bytes.extend_from_slice(&optional_header_bytes.to_le_bytes());
    bytes.extend_from_slice(&0x2022_u16.to_le_bytes()); // a DLL
    bytes.extend_from_slice(&0x020b_u16.to_le_bytes()); // 64 bits
    bytes.resize(bytes.len() + usize::from(optional_header_bytes) - 2, 0);
    bytes
}

/// Compiles C sources to a library, with more flags for the compiler.
///
/// # Panics
/// If they do not compile.
#[must_use]
pub fn compile_c(source: &Path, flags: &[&str]) -> Vec<u8> {
    let scratch = TempDir::new().expect("there is room for temporary files");
    let library = scratch.path().join("library.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library).arg(source).args(flags);
    let exit = run_to_end(&mut cc);
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    fs::read(&library).expect("cc wrote the library")
}

/// The library of `tests/c/plugin.c`, the plugin `tiny`.
///
/// # Panics
/// As [`compile_c`].
#[must_use]
pub fn c_plugin() -> Vec<u8> {
    c_plugin_with("../plugin-sdk/abi/include")
}

/// The same, as a build that ends the process: `place` is `IN_CONSTRUCTOR` or `IN_ON_START`, `how` a statement in C, one
/// of `abort()`, `exit(3)` and `fault()`.
///
/// # Panics
/// As [`compile_c`].
#[must_use]
pub fn c_plugin_that_ends(place: &str, how: &str) -> Vec<u8> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let include = format!("-I{}", tests.join("../plugin-sdk/abi/include").display());
    compile_c(&tests.join("c/ends.c"), &["-std=c11", &include, &format!("-D{place}={how}")])
}

/// The same against the header of ABI 1.0, which stays as it was.
///
/// # Panics
/// As [`compile_c`].
#[must_use]
pub fn c_plugin_of_abi_1_0() -> Vec<u8> {
    c_plugin_with("c/abi-1.0")
}

fn c_plugin_with(header: &str) -> Vec<u8> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let include = format!("-I{}", tests.join(header).display());
    compile_c(&tests.join("c/plugin.c"), &["-std=c11", &include])
}

/// As [`compile_c`], of a text.
///
/// # Panics
/// As [`compile_c`].
#[must_use]
pub fn compile_c_text(text: &str) -> Vec<u8> {
    let scratch = TempDir::new().expect("there is room for temporary files");
    let source = scratch.path().join("source.c");
    fs::write(&source, text).expect("a scratch folder takes files");
    compile_c(&source, &[])
}
