//! `framex-host keygen`.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FileType;
use serde_json::json;

use super::Failed;
use super::output::Output;

/// Only this user may read it.
const MODE: u32 = 0o600;
/// The group or every user may read.
const READABLE_BY_OTHERS: u32 = 0o044;

/// The mode of the file that the standard output is, if users beside this one may read it.
fn open_mode_of_output() -> Option<u32> {
    let output = std::io::stdout();
    let found = rustix::fs::fstat(&output).ok()?;
    let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    (is_file && found.st_mode & READABLE_BY_OTHERS != 0).then_some(found.st_mode & 0o7777)
}

/// Makes a key, and prints it or writes it to a new file.
pub(crate) fn run(out: Option<&Path>, output: Output) -> Result<(), Failed> {
    let key = framex_host::wire::generate_secret();
    let Some(file) = out else {
        output.show(&json!({ "key": key }), |_| key.clone());
        if let Some(mode) = open_mode_of_output() {
            output.remark(&format!(
                "warning: others may read the file that this key was written to (mode {mode:04o}): `chmod 600` it, or let \
                 `keygen --out FILE` make it"
            ));
        }
        return Ok(());
    };
    let shown = file.display().to_string();
    // New: neither a key that is there is lost, nor is a link followed.
    let mut options = File::options();
    let opened = options.write(true).create_new(true).mode(MODE).open(file);
    let written = opened.and_then(|mut opened| {
        opened.write_all(format!("{key}\n").as_bytes())?;
        opened.sync_all()
    });
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failed::new(format!(
            "{shown} exists already, and is left as it is: name a new file, or remove it"
        )),
        _ => Failed::new(format!("{shown} cannot be written: {error}")),
    })?;
    output.show(&json!({ "file": shown }), |_| format!("a new key is in {shown}"));
    Ok(())
}
