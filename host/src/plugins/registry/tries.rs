//! Builds that are being loaded, on disk while their code runs for the first time in this process: one that ends the
//! process is known to the next start, and is left out there.
//!
//! `tries.json` in the state directory is there only while it has something to say. It need not survive a crash of the
//! system, which no build is to blame for, so nothing waits for the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::base::{Digest, Mutex};
use crate::files::{DirFault, PrivateDir, PrivatePath};

/// The name of the file.
const NAME: &str = "tries.json";
/// Longest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// The builds that are being tried and the builds that ended the host, by digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Notes {
    #[serde(deserialize_with = "by_digest")]
    trying: BTreeMap<Digest, TriedBuild>,
    #[serde(deserialize_with = "by_digest")]
    ended: BTreeMap<Digest, TriedBuild>,
}

/// One build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TriedBuild {
    plugin: String,
    /// Name of the operator's file.
    file: String,
    /// Number of lives of the host in a row that ended while it was being loaded.
    times: u32,
}

/// Reads notes by digest. One whose key is not a digest says nothing of any build, and is left out.
fn by_digest<'de, D: Deserializer<'de>>(notes: D) -> Result<BTreeMap<Digest, TriedBuild>, D::Error> {
    let notes = BTreeMap::<String, TriedBuild>::deserialize(notes)?;
    let digested = notes.into_iter().filter_map(|(key, build)| match key.parse() {
        Ok(sha256) => Some((sha256, build)),
        Err(error) => {
            let TriedBuild { plugin, file, .. } = build;
            tracing::warn!(
                plugin,
                file,
                key,
                "a note in {NAME} is left out, as its key is not a digest: {error}"
            );
            None
        }
    });
    Ok(digested.collect())
}

/// The notes, and the file that has them.
#[derive(Debug, Clone)]
pub(crate) struct Tries {
    folder: PrivatePath,
    notes: Arc<Mutex<Notes>>,
}

impl Tries {
    /// Reads the notes of the last life of the host in `folder`: a build that it was trying has ended it.
    ///
    /// # Errors
    /// For a file that others than this user may have written.
    pub(crate) fn read(folder: &Path) -> Result<Self, DirFault> {
        let opened = PrivateDir::open(folder)?;
        let Notes { trying, mut ended } = match opened.read(NAME) {
            Ok(file) => serde_json::from_reader(BufReader::new(file.take(BYTES_MAX))).unwrap_or_else(|error| {
                tracing::warn!(file = %folder.join(NAME).display(), "builds that ended the host are not known: {error}");
                Notes::default()
            }),
            Err(DirFault::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Notes::default()
            }
            Err(fault) => return Err(fault),
        };
        for (sha256, build) in trying {
            let times = ended.get(&sha256).map_or(0, |before| before.times).saturating_add(1);
            ended.insert(sha256, TriedBuild { times, ..build });
        }
        let notes = Arc::new(Mutex::new(Notes { trying: BTreeMap::new(), ended }));
        Ok(Self { folder: PrivatePath::new(folder), notes })
    }

    /// Returns the number of lives of the host in a row that ended while they loaded this build.
    pub(crate) fn ended(&self, sha256: Digest) -> u32 {
        self.notes.lock().ended.get(&sha256).map_or(0, |build| build.times)
    }

    /// Notes that code of a build is about to run for the first time.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn begin(&self, sha256: Digest, plugin: &str, file: &str) -> io::Result<()> {
        let build = TriedBuild { plugin: plugin.to_owned(), file: file.to_owned(), times: 1 };
        self.change(move |notes| drop(notes.trying.insert(sha256, build))).await
    }

    /// Notes that the host survived loading a build, with success or not.
    pub(crate) async fn survived(&self, sha256: Digest) {
        self.change_or_warn(move |notes| {
            notes.trying.remove(&sha256);
            notes.ended.remove(&sha256);
        })
        .await;
    }

    /// Forgets the builds that ended the host and that are in none of these files.
    pub(crate) async fn keep_ended(&self, present: BTreeSet<Digest>) {
        self.change_or_warn(move |notes| notes.ended.retain(|sha256, _| present.contains(sha256))).await;
    }

    /// Notes that the host ends as it was told to: what is being tried is not to blame.
    pub(crate) async fn forgive(&self) {
        self.change_or_warn(|notes| notes.trying.clear()).await;
    }

    async fn change_or_warn(&self, change: impl FnOnce(&mut Notes) + Send + 'static) {
        if let Err(error) = self.change(change).await {
            tracing::warn!(
                "the state directory cannot be written to: {error}; the next start may leave out a build"
            );
        }
    }

    async fn change(&self, change: impl FnOnce(&mut Notes) + Send + 'static) -> io::Result<()> {
        let tries = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            // Held until it is written, so that the file has what was noted last.
            let mut notes = tries.notes.lock();
            let before = notes.clone();
            change(&mut notes);
            if *notes == before { Ok(()) } else { tries.write(&notes) }
        });
        written.await.map_err(io::Error::other)?
    }

    fn write(&self, notes: &Notes) -> io::Result<()> {
        let folder = self.folder.open()?;
        if *notes == Notes::default() {
            return match folder.remove(NAME) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
        }
        folder.replace_soon(NAME, &serde_json::to_vec_pretty(notes)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from([byte; 32])
    }

    #[tokio::test]
    async fn what_was_being_tried_has_ended_the_host() {
        let scratch = tempfile::tempdir().unwrap();
        let read = || Tries::read(scratch.path()).unwrap();
        let file = scratch.path().join(NAME);
        read().begin(digest(0xaa), "x", "libx.so").await.unwrap();
        for times in 1..4 {
            let tries = read();
            assert_eq!((tries.ended(digest(0xaa)), tries.ended(digest(0xbb))), (times, 0));
            tries.begin(digest(0xaa), "x", "libx.so").await.unwrap();
            tries.begin(digest(0xbb), "y", "liby.so").await.unwrap();
            tries.survived(digest(0xbb)).await;
        }
        let tries = read();
        tries.begin(digest(0xaa), "x", "libx.so").await.unwrap();
        tries.forgive().await;
        assert_eq!(read().ended(digest(0xaa)), 4, "of those before it is not forgiven");
        tries.keep_ended(BTreeSet::from([digest(0xaa)])).await;
        assert!(file.exists());
        tries.survived(digest(0xaa)).await;
        assert!(!file.exists());
        assert_eq!(read().ended(digest(0xaa)), 0);
        fs::write(&file, "{").unwrap();
        assert_eq!(read().ended(digest(0xaa)), 0);
    }

    #[test]
    fn a_note_without_a_digest_is_left_out_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let (good, bad) = ("aa".repeat(32), "aa".repeat(31));
        let build = r#"{ "plugin": "x", "file": "libx.so", "times": 1 }"#;
        let text = format!(
            r#"{{ "trying": {{ "{bad}": {build}, "{good}": {build} }}, "ended": {{ "": {build}, "{good}": {build} }} }}"#
        );
        fs::write(scratch.path().join(NAME), text).unwrap();
        let tries = Tries::read(scratch.path()).unwrap();
        assert_eq!(tries.ended(digest(0xaa)), 2);
        assert_eq!(tries.notes.lock().ended.len(), 1);
    }
}
