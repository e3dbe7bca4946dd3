//! The commit record: which build of each plugin the next start serves, and which ones it can go back to.
//!
//! `plugins.json` in the state directory, replaced by rename after it has reached the disk, and always before what it
//! says is published: a host that dies at any moment comes back with the generation that it last committed to.
//! A build is noted as tried before any of its code runs, so that one that kills the host is not tried twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use super::Staged;

/// Longest record that is read.
const RECORD_BYTES_MAX: u64 = 16 << 20;
/// The form of the file.
const VERSION: u32 = 1;

/// What is on disk of all plugins, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    version: u32,
    plugins: BTreeMap<String, PluginRecord>,
}

impl Default for Book {
    fn default() -> Self {
        Self { version: VERSION, plugins: BTreeMap::new() }
    }
}

impl Book {
    fn copies(&self) -> BTreeSet<String> {
        let builds = self.plugins.values().flat_map(|plugin| plugin.committed.iter().chain(&plugin.kept));
        builds.map(|build| build.copy.clone()).collect()
    }
}

/// What is on disk of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginRecord {
    /// Last number that was given out.
    pub(super) last_generation: u64,
    /// What the next start serves, unless the operator's file has changed.
    pub(super) committed: Option<Build>,
    /// Digest of the operator's file when that was committed: after a rollback, not that of the build.
    pub(super) seen: Option<String>,
    /// Digest of an operator's file that was tried since, and did not get as far.
    pub(super) tried: Option<String>,
    /// What `rollback` can bring back, newest first.
    pub(super) kept: Vec<Build>,
}

/// One build on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    pub(super) generation: u64,
    pub(super) version: String,
    pub(super) sha256: String,
    /// Name of the operator's file.
    pub(super) file: String,
    /// Name of the copy in the folder of staged files.
    copy: String,
}

impl Build {
    pub(super) fn of(generation: u64, version: &str, staged: &Staged) -> Self {
        let copy = staged.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (sha256, file) = (staged.sha256.clone(), staged.file.clone());
        Self { generation, version: version.to_owned(), sha256, file, copy }
    }

    /// Where its copy is.
    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(&self.copy)
    }
}

/// The record, and who may change it: whoever publishes holds [`Records::open_book`] while they do.
#[derive(Debug)]
pub(super) struct Records {
    file: PathBuf,
    /// Where the copies are.
    staged: PathBuf,
    book: Mutex<Book>,
}

impl Records {
    /// Reads the record in `folder`, of copies in its folder `staged`. One that cannot be read is set aside: what is in the plugin directory serves then.
    pub(super) fn read(folder: &Path) -> Self {
        let file = folder.join("plugins.json");
        // What a process left that died while it wrote.
        let _not_there = fs::remove_file(temporary(&file));
        let book = match read_book(&file) {
            Ok(book) => book,
            Err(error) => {
                let aside = file.with_extension("json.unreadable");
                let set_aside = fs::rename(&file, &aside);
                tracing::error!(file = %file.display(), set_aside = set_aside.is_ok(), "the record of plugins cannot be read: {error}; the files of the plugin directory are loaded as they are");
                Book::default()
            }
        };
        Self { file, staged: folder.join("staged"), book: Mutex::new(book) }
    }

    /// The folder of staged copies, and the names of those that the record needs.
    pub(super) fn copies(&mut self) -> (&Path, BTreeSet<String>) {
        (&self.staged, self.book.get_mut().copies())
    }

    /// What is recorded of each plugin.
    pub(super) async fn plugins(&self) -> BTreeMap<String, PluginRecord> {
        self.book.lock().await.plugins.clone()
    }

    /// Takes the record, to change it and to publish what it says then. One change at a time.
    pub(super) async fn open_book(&self) -> OpenBook<'_> {
        OpenBook { records: self, book: self.book.lock().await }
    }
}

/// The record while it is being changed.
#[derive(Debug)]
pub(super) struct OpenBook<'a> {
    records: &'a Records,
    book: MutexGuard<'a, Book>,
}

impl OpenBook<'_> {
    /// Changes what is recorded and waits until it has reached the disk, with the `staged` copies that it names.
    /// Copies that it no longer names are removed.
    ///
    /// # Errors
    /// What the system says; then the record is what it was.
    pub(super) async fn write(
        &mut self,
        staged: Vec<Arc<Staged>>,
        change: impl FnOnce(&mut BTreeMap<String, PluginRecord>),
    ) -> io::Result<()> {
        let mut next = self.book.clone();
        change(&mut next.plugins);
        if next == *self.book {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&next)?;
        let file = self.records.file.clone();
        let needed = next.copies();
        let obsolete: Vec<PathBuf> =
            self.book.copies().difference(&needed).map(|copy| self.records.staged.join(copy)).collect();
        let written = tokio::task::spawn_blocking(move || {
            for copy in &staged {
                File::open(&copy.path)?.sync_all()?;
                super::trust::sync_signature(&copy.path)?;
            }
            write_durably(&file, &text)?;
            for copy in &staged {
                copy.recorded.store(true, Ordering::Relaxed);
            }
            for copy in obsolete {
                // Left behind, it is removed at the next start.
                let _left_behind = fs::remove_file(&copy);
                super::trust::forget_signature(&copy);
            }
            Ok::<(), io::Error>(())
        });
        written.await.map_err(io::Error::other)??;
        *self.book = next;
        Ok(())
    }
}

fn read_book(file: &Path) -> io::Result<Book> {
    let mut bytes = Vec::new();
    match File::open(file) {
        Ok(opened) => opened.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Book::default()),
        Err(error) => return Err(error),
    };
    if bytes.len() as u64 > RECORD_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {RECORD_BYTES_MAX} bytes")));
    }
    let book: Book = serde_json::from_slice(&bytes)?;
    if book.version != VERSION {
        return Err(io::Error::other(format!(
            "it is of version {}, this host knows {VERSION}",
            book.version
        )));
    }
    let builds = book.plugins.values().flat_map(|plugin| plugin.committed.iter().chain(&plugin.kept));
    for build in builds {
        if Path::new(&build.copy).file_name().is_none_or(|name| name != build.copy.as_str()) {
            return Err(io::Error::other(format!("`{}` is not the name of a copy", build.copy)));
        }
    }
    Ok(book)
}

fn temporary(file: &Path) -> PathBuf {
    file.with_extension("json.new")
}

/// Replaces a file as a whole: whoever reads it after a crash finds the old bytes or the new ones.
fn write_durably(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = temporary(file);
    let mut options = fs::OpenOptions::new();
    let mut opened = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    opened.write_all(bytes)?;
    opened.sync_all()?;
    fs::rename(&new, file)?;
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(copy: &str) -> Build {
        let text = |text: &str| text.to_owned();
        Build {
            generation: 3,
            version: text("1"),
            sha256: text("ab"),
            file: text("libx.so"),
            copy: text(copy),
        }
    }

    #[tokio::test]
    async fn what_was_written_is_read_again() {
        let scratch = tempfile::tempdir().unwrap();
        let records = Records::read(scratch.path());
        let record = PluginRecord {
            last_generation: 4,
            committed: Some(build("a-3.so")),
            seen: Some("cd".to_owned()),
            tried: None,
            kept: vec![build("a-1.so")],
        };
        let written = record.clone();
        let change = |plugins: &mut BTreeMap<_, _>| drop(plugins.insert("x".to_owned(), written));
        records.open_book().await.write(Vec::new(), change).await.unwrap();
        fs::write(scratch.path().join("plugins.json.new"), "{").unwrap();
        let mut again = Records::read(scratch.path());
        assert_eq!(again.plugins().await.get("x"), Some(&record));
        assert_eq!(again.copies().1.into_iter().collect::<Vec<_>>(), ["a-1.so", "a-3.so"]);
        assert!(!scratch.path().join("plugins.json.new").exists());
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_written_is_what_it_was() {
        let scratch = tempfile::tempdir().unwrap();
        let records = Records::read(&scratch.path().join("missing"));
        let change =
            |plugins: &mut BTreeMap<_, _>| drop(plugins.insert("x".to_owned(), PluginRecord::default()));
        records.open_book().await.write(Vec::new(), change).await.unwrap_err();
        assert!(records.plugins().await.is_empty());
    }

    #[tokio::test]
    async fn an_unreadable_record_is_set_aside() {
        for text in [
            "{",
            "{\"version\": 2, \"plugins\": {}}",
            r#"{"version":1,"plugins":{"x":{"last_generation":1,
            "committed":{"generation":1,"version":"1","sha256":"","file":"f","copy":"../../etc/passwd"},"kept":[]}}}"#,
        ] {
            let scratch = tempfile::tempdir().unwrap();
            fs::write(scratch.path().join("plugins.json"), text).unwrap();
            assert!(Records::read(scratch.path()).plugins().await.is_empty(), "{text}");
            assert_eq!(fs::read_to_string(scratch.path().join("plugins.json.unreadable")).unwrap(), text);
        }
    }
}
