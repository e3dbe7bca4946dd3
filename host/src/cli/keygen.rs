//! `framex-host keygen`.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::json;

use super::Failed;
use super::output::Output;

/// Only this user may read it.
const MODE: u32 = 0o600;

/// Makes a key, and prints it or writes it to a new file.
pub(crate) fn run(out: Option<&Path>, output: Output) -> Result<(), Failed> {
    let key = framex_host::wire::generate_secret();
    let Some(file) = out else {
        output.show(&json!({ "key": key }), |_| key.clone());
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
