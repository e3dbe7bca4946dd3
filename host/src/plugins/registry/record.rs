//! The commit record: which build of each plugin the next start serves, and which ones it can go back to.
//!
//! `plugins.json` in the state directory, replaced by rename after it has reached the disk, and always before what it
//! says is published: a host that dies at any moment comes back with the generation that it last committed to.
//! A build is noted as tried before any of its code runs, so that one that kills the host is not tried twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use crate::base::{Digest, is_plugin_name};
use crate::files::{DirFault, PrivateDir, PrivatePath};
use crate::plugins::file::stage::{Staged, remove_copy};
use crate::plugins::file::trust::signature_file::sync_signature;

/// The name of the record.
const NAME: &str = "plugins.json";

/// Longest record that is read.
const RECORD_BYTES_MAX: u64 = 16 << 20;
/// The form of the file.
const VERSION: u32 = 1;

/// The records of all plugins, by name.
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
    fn builds(&self) -> impl Iterator<Item = &Build> {
        self.plugins.values().flat_map(|plugin| plugin.committed.iter().chain(&plugin.kept))
    }

    /// The names of all copies, with their digests.
    fn copies(&self) -> BTreeMap<String, Digest> {
        self.builds().map(|build| (build.copy.clone(), build.sha256)).collect()
    }
}

/// The record of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PluginRecord {
    /// Last number that was given out.
    pub(crate) last_generation: u64,
    /// The build that the next start serves, unless the operator's file has changed.
    pub(crate) committed: Option<Build>,
    /// Digest of the operator's file when that was committed: after a rollback, not that of the build.
    #[serde(rename = "seen")]
    pub(crate) file_digest: Option<Digest>,
    /// Digest of an operator's file that was tried since, and did not get as far.
    #[serde(rename = "tried")]
    pub(crate) refused_digest: Option<Digest>,
    /// The builds that `rollback` can bring back, newest first.
    pub(crate) kept: Vec<Build>,
}

/// One build on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Build {
    pub(crate) generation: u64,
    pub(crate) version: String,
    pub(crate) sha256: Digest,
    /// Name of the operator's file.
    pub(crate) file: String,
    /// Name of the copy in the folder of staged files.
    pub(crate) copy: String,
}

/// The record. Publishing happens under [`Records::open_book`].
#[derive(Debug)]
pub(crate) struct Records {
    folder: PrivatePath,
    /// The folder of the copies.
    staged: PrivatePath,
    book: Mutex<Book>,
}

impl Records {
    /// Reads the record in `folder`, of copies in its folder `staged`. A record that cannot be read is set aside: then the
    /// files of the plugin directory serve.
    ///
    /// # Errors
    /// For a record that others than this user may have written.
    pub(crate) fn read(folder: &Path) -> Result<Self, DirFault> {
        let staged = PrivatePath::inside(folder, "staged");
        let opened = PrivateDir::open(folder)?;
        let found = match opened.read(NAME) {
            Ok(found) => Ok(found),
            Err(DirFault::System { source, .. }) => Err(source),
            Err(fault) => return Err(fault),
        };
        let book = read_book(found).unwrap_or_else(|error| {
            let set_aside = opened.rename(NAME, "plugins.json.unreadable");
            let file = folder.join(NAME);
            tracing::error!(file = %file.display(), set_aside = set_aside.is_ok(), "the record of plugins cannot be read: {error}; the files of the plugin directory are loaded as they are");
            Book::default()
        });
        Ok(Self { folder: PrivatePath::new(folder), staged, book: Mutex::new(book) })
    }

    /// Returns the folder of staged copies, and the names of the copies that the record needs, with their digests.
    pub(crate) fn copies(&mut self) -> (PrivatePath, BTreeMap<String, Digest>) {
        (self.staged.clone(), self.book.get_mut().copies())
    }

    /// Returns the record of each plugin.
    pub(crate) async fn plugins(&self) -> BTreeMap<String, PluginRecord> {
        self.book.lock().await.plugins.clone()
    }

    /// Takes the record, to change it and to publish what it says then. One change at a time.
    pub(crate) async fn open_book(&self) -> OpenBook<'_> {
        OpenBook { records: self, book: self.book.lock().await }
    }
}

/// The record while it is being changed.
#[derive(Debug)]
pub(crate) struct OpenBook<'a> {
    records: &'a Records,
    book: MutexGuard<'a, Book>,
}

impl OpenBook<'_> {
    /// Changes what is recorded and waits until it has reached the disk, with the `staged` copies that it names.
    /// Copies that it no longer names are removed.
    ///
    /// # Errors
    /// What the system says; then the record is what it was.
    pub(crate) async fn write(
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
        let (folder, copies) = (self.records.folder.clone(), self.records.staged.clone());
        let needed = next.copies();
        let obsolete: Vec<String> =
            self.book.copies().into_keys().filter(|copy| !needed.contains_key(copy)).collect();
        let written = tokio::task::spawn_blocking(move || {
            let copies = copies.open()?;
            for copy in &staged {
                copies.read(&copy.copy)?.sync_all()?;
                sync_signature(&copies, &copy.copy)?;
            }
            folder.open()?.replace(NAME, &text)?;
            for copy in &staged {
                copy.recorded.store(true, Ordering::Relaxed);
            }
            obsolete.iter().for_each(|copy| remove_copy(&copies, copy));
            Ok::<(), io::Error>(())
        });
        written.await.map_err(io::Error::other)??;
        *self.book = next;
        Ok(())
    }
}

fn read_book(found: io::Result<File>) -> io::Result<Book> {
    let mut bytes = Vec::new();
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Book::default()),
        found => found?.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes)?,
    };
    let refuse = |reason: String| Err(io::Error::other(reason));
    if bytes.len() as u64 > RECORD_BYTES_MAX {
        return refuse(format!("it has more than {RECORD_BYTES_MAX} bytes"));
    }
    let book: Book = serde_json::from_slice(&bytes)?;
    if book.version != VERSION {
        return refuse(format!("it is of version {}, this host knows {VERSION}", book.version));
    }
    if let Some(name) = book.plugins.keys().find(|name| !is_plugin_name(name)) {
        return refuse(format!("`{name}` is not the name of a plugin"));
    }
    if let Some(copy) = book
        .builds()
        .map(|build| &build.copy)
        .find(|copy| Path::new(copy).file_name().is_none_or(|name| name != copy.as_str()))
    {
        return refuse(format!("`{copy}` is not the name of a copy"));
    }
    Ok(book)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(folder: &Path) -> Records {
        Records::read(folder).unwrap()
    }

    fn build(copy: &str) -> Build {
        let text = |text: &str| text.to_owned();
        Build {
            generation: 3,
            version: text("1"),
            sha256: Digest::from([0xab; 32]),
            file: text("libx.so"),
            copy: text(copy),
        }
    }

    #[tokio::test]
    async fn what_was_written_is_read_again() {
        let scratch = tempfile::tempdir().unwrap();
        let records = read(scratch.path());
        let record = PluginRecord {
            last_generation: 4,
            committed: Some(build("a-3.so")),
            file_digest: Some(Digest::from([0xcd; 32])),
            refused_digest: None,
            kept: vec![build("a-1.so")],
        };
        let written = record.clone();
        let change = |plugins: &mut BTreeMap<_, _>| drop(plugins.insert("x".to_owned(), written));
        records.open_book().await.write(Vec::new(), change).await.unwrap();
        fs::write(scratch.path().join("plugins.json.new"), "{").unwrap();
        let mut again = read(scratch.path());
        assert_eq!(again.plugins().await.get("x"), Some(&record));
        assert_eq!(again.copies().1.into_keys().collect::<Vec<_>>(), ["a-1.so", "a-3.so"]);
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_written_is_what_it_was() {
        let scratch = tempfile::tempdir().unwrap();
        let records = read(&scratch.path().join("gone"));
        fs::remove_dir_all(scratch.path().join("gone")).unwrap();
        fs::write(scratch.path().join("gone"), "in the way").unwrap();
        let change =
            |plugins: &mut BTreeMap<_, _>| drop(plugins.insert("x".to_owned(), PluginRecord::default()));
        records.open_book().await.write(Vec::new(), change).await.unwrap_err();
        assert!(records.plugins().await.is_empty());
    }

    #[tokio::test]
    async fn an_unreadable_record_is_set_aside() {
        let build = |name: &str, sha256: &str, copy: &str| {
            format!(
                r#"{{"version":1,"plugins":{{"{name}":{{"last_generation":1,"seen":null,"tried":null,"kept":[],"committed":
                {{"generation":1,"version":"1","sha256":"{sha256}","file":"f","copy":"{copy}"}}}}}}}}"#
            )
        };
        let digest = "ab".repeat(32);
        for (text, reason) in [
            ("{".to_owned(), "EOF"),
            ("{\"version\": 2, \"plugins\": {}}".to_owned(), "it is of version 2, this host knows 1"),
            (build("x", "ab", "1.so"), "a SHA-256 is 64 hexadecimal digits"),
            (build("x", &digest, "../../etc/passwd"), "`../../etc/passwd` is not the name of a copy"),
            (build("../x", &digest, "1.so"), "`../x` is not the name of a plugin"),
        ] {
            let scratch = tempfile::tempdir().unwrap();
            fs::write(scratch.path().join("plugins.json"), &text).unwrap();
            let error = read_book(File::open(scratch.path().join("plugins.json"))).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
            assert!(read(scratch.path()).plugins().await.is_empty(), "{text}");
            assert_eq!(fs::read_to_string(scratch.path().join("plugins.json.unreadable")).unwrap(), text);
        }
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("plugins.json"), build("x", &digest, "1.so")).unwrap();
        assert_eq!(read(scratch.path()).plugins().await.len(), 1, "but for that, it is a record");
    }
}
