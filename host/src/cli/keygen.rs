//! `framex-host keygen`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use framex_host::wire::{KeySet, generate_secret, key_id_text};
use rustix::fs::FileType;
use serde_json::json;
use zeroize::Zeroizing;

use super::command_error::CommandError;
use super::output::Output;

/// Only this user may read it.
const MODE: u32 = 0o600;
/// Longest file that is read for a key.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
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
pub(crate) fn run(out: Option<&Path>, output: Output) -> Result<(), CommandError> {
    let key = generate_secret();
    let id = id_of(&key)?;
    let Some(file) = out else {
        output.show(&json!({ "key": key, "id": id }), || key.clone())?;
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
        std::io::ErrorKind::AlreadyExists => CommandError::new(format!(
            "{shown} exists already, and is left as it is: name a new file, or remove it"
        )),
        _ => CommandError::new(format!("{shown} cannot be written: {error}")),
    })?;
    output.show(&json!({ "file": shown, "id": id }), || format!("a new key is in {shown}; its id is {id}"))
}

/// Shows the id of the key in a file, as frames, logs and `check` name it.
pub(crate) fn show_id(file: &Path, output: Output) -> Result<(), CommandError> {
    let shown = file.display().to_string();
    let unusable =
        |reason: &dyn std::fmt::Display| CommandError::new(format!("{shown} cannot be read: {reason}"));
    let mut secret = Zeroizing::new(String::new());
    let opened = File::open(file).map_err(|error| unusable(&error))?;
    opened.take(SECRET_BYTES_MAX + 1).read_to_string(&mut secret).map_err(|error| unusable(&error))?;
    if secret.len() as u64 > SECRET_BYTES_MAX {
        return Err(unusable(&format!("it has more than {SECRET_BYTES_MAX} bytes, so it is not a key")));
    }
    // As the config reads a file: without its last line end.
    let secret = secret.strip_suffix('\n').unwrap_or(&secret);
    let id = id_of(secret.strip_suffix('\r').unwrap_or(secret))?;
    output.show(&json!({ "file": shown, "id": id }), || id.clone())
}

fn id_of(secret: &str) -> Result<String, CommandError> {
    let keys =
        KeySet::derive(secret).map_err(|error| CommandError::new(format!("this is not a key: {error}")))?;
    Ok(key_id_text(keys.id()))
}
