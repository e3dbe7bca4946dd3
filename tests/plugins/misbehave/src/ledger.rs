//! Functions that write a line for each run, which outlives the host.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use framex_sdk::prelude::*;

/// The file of the lines; there is none without `ledger` in the config.
#[derive(Debug)]
pub struct Ledger(Option<File>);

impl Ledger {
    /// Opens the file at its end.
    ///
    /// # Errors
    /// The errors of the system.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| File::options().append(true).create(true).open(path);
        Ok(Self(path.map(open).transpose().map_err(failed)?))
    }

    /// Adds a line by a single write, which stays whole between the writes of other processes, and when this process is
    /// killed right after.
    fn add(&self, id: &str) -> Result<()> {
        let Some(mut file) = self.0.as_ref() else { return Err(Error::new("ledger", "there is no ledger")) };
        let line = format!("{id}\n");
        match file.write(line.as_bytes()).map_err(failed)? {
            count if count == line.len() => Ok(()),
            count => Err(Error::new("ledger", format!("{count} bytes of a line were written"))),
        }
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::new("ledger", error.to_string())
}

/// Notes that it runs, works for a while, and gives the id back.
#[on_proxy]
pub async fn notes(id: String, #[default] ms: u64, #[state] ledger: &Ledger) -> Result<String> {
    work(id, ms, ledger).await
}

/// The same, and running it twice does no harm.
#[on_proxy(idempotent)]
pub async fn notes_idempotent(id: String, #[default] ms: u64, #[state] ledger: &Ledger) -> Result<String> {
    work(id, ms, ledger).await
}

async fn work(id: String, ms: u64, ledger: &Ledger) -> Result<String> {
    // First of all: from here on, the body ran.
    ledger.add(&id)?;
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    Ok(id)
}
