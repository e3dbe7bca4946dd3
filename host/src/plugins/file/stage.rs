//! Staging: a private copy of a plugin file, hashed while it is copied; only the copy is used from then on.
//!
//! The operator may overwrite, truncate or delete the original at any time: overwriting a mapped file kills the
//! process, and the same path or inode would give the old code again.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use super::name_of;
use super::trust::signature_file::{ENDING, signature_name};
use crate::base::{Digest, Mutex};
use crate::files::{DirFault, PrivateDir, PrivatePath, open_regular};
use crate::plugins::error::PluginError;

/// Largest plugin file in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// A folder of staged copies; only this process uses it.
#[derive(Debug)]
pub struct Stager {
    /// The folder of the copies.
    pub(crate) folder: PrivatePath,
    /// Random: no two processes that used the folder give the same name.
    process: u64,
    next: AtomicU64,
    /// Recorded copies of an earlier process that this one has not used, by name, with the digests on record.
    unused: Mutex<BTreeMap<String, Digest>>,
}

/// A private copy of a plugin file. The copy is removed when this is dropped, unless the commit record names it;
/// a mapped library stays mapped.
#[derive(Debug)]
pub struct Staged {
    /// Name of the copy in its folder, never used twice.
    pub(crate) copy: String,
    /// The folder of the copy.
    pub(crate) folder: PrivatePath,
    /// Name of the operator's file.
    pub file: String,
    /// SHA-256 of the copied bytes, in hex.
    pub sha256: Digest,
    /// Size of the copy.
    pub bytes: u64,
    /// The commit record names the copy: the next start may need it.
    pub(crate) recorded: AtomicBool,
}

impl Staged {
    /// Finds a copy that the commit record names.
    pub(crate) fn recorded(folder: &PrivatePath, copy: &str, file: &str, sha256: Digest) -> io::Result<Self> {
        let bytes = folder.open()?.read(copy)?.metadata()?.len();
        let (copy, folder, file) = (copy.to_owned(), folder.clone(), file.to_owned());
        Ok(Self { copy, folder, file, sha256, bytes, recorded: true.into() })
    }

    /// Opens the copy.
    pub(crate) fn open(&self) -> io::Result<File> {
        Ok(self.folder.open()?.read(&self.copy)?)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.recorded.load(Ordering::Relaxed)
            && let Ok(folder) = self.folder.open()
        {
            remove_copy(&folder, &self.copy);
        }
    }
}

/// Removes a copy and its signature; what is left behind is removed at the next start.
pub(crate) fn remove_copy(folder: &PrivateDir, copy: &str) {
    let _left_behind = folder.remove(copy);
    let _none = folder.remove(signature_name(copy));
}

impl Stager {
    /// Takes the folder; of what an earlier process left in it, only the `recorded` copies stay. Their digests are
    /// the values.
    ///
    /// # Errors
    /// [`DirFault`] for a folder that others than this user may write to, and what the system says, with the entry that
    /// cannot be removed.
    pub fn new(folder: PrivatePath, recorded: BTreeMap<String, Digest>) -> Result<Self, DirFault> {
        let opened = folder.open()?;
        let system = |path: PathBuf| move |source| DirFault::System { path, source };
        for name in opened.names().map_err(system(opened.path().to_owned()))? {
            let shown = name.to_string_lossy();
            if !recorded.contains_key(shown.strip_suffix(ENDING).unwrap_or(&shown)) {
                opened.remove(&name).map_err(system(opened.path().join(&name)))?;
            }
        }
        Ok(Self { folder, process: rand::random(), next: AtomicU64::new(1), unused: Mutex::new(recorded) })
    }

    /// Takes the recorded copy of an earlier process that has the content of `source`, if there is one: a start needs
    /// no room on the disk for builds that served before. This process has never mapped that copy.
    ///
    /// # Errors
    /// [`PluginError::File`], for the source alone.
    pub(crate) fn adopt(
        &self,
        source: &mut (impl Read + Seek),
        file: &str,
    ) -> Result<Option<Staged>, PluginError> {
        if self.unused.lock().is_empty() {
            return Ok(None);
        }
        let read = digest_of(&mut *source).and_then(|sha256| source.rewind().map(|()| sha256));
        let sha256 = read.map_err(PluginError::file(file, "read"))?;
        let copy = {
            let mut unused = self.unused.lock();
            let found = unused.iter().find(|(_, recorded)| **recorded == sha256);
            let Some(copy) = found.map(|(copy, _)| copy.clone()) else { return Ok(None) };
            unused.remove(&copy);
            copy
        };
        let staged = Staged::recorded(&self.folder, &copy, file, sha256).ok();
        let is_whole = |staged: &Staged| staged.open().and_then(digest_of).is_ok_and(|found| found == sha256);
        Ok(staged.filter(is_whole))
    }

    /// Leaves recorded copies alone from now on: the start is over, and all files are copied.
    pub(crate) fn end_of_start(&self) {
        self.unused.lock().clear();
    }

    /// Copies `source`, which is the operator's file of the name `file`, under a name that is never used again.
    ///
    /// # Errors
    /// [`PluginError::File`] and [`PluginError::TooLarge`].
    pub(crate) fn stage(&self, source: impl Read, file: &str) -> Result<Staged, PluginError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{:016x}-{number}{}", self.process, std::env::consts::DLL_SUFFIX);
        let refuse = PluginError::file(file, "copied to the state directory");
        let folder = self.folder.open().map_err(|fault| refuse(fault.into()))?;
        let mut copy = folder.create(&name, 0o500).map_err(&refuse)?;
        let mut staged = Staged {
            copy: name,
            folder: self.folder.clone(),
            file: file.to_owned(),
            sha256: Digest::from([0; 32]),
            bytes: 0,
            recorded: AtomicBool::new(false),
        };
        staged.sha256 = hash(source, PluginError::file(file, "read"), |chunk| {
            staged.bytes += chunk.len() as u64;
            if staged.bytes > FILE_BYTES_MAX {
                return Err(PluginError::TooLarge { file: file.to_owned(), bytes_max: FILE_BYTES_MAX });
            }
            copy.write_all(chunk).map_err(&refuse)
        })?;
        Ok(staged)
    }
}

/// Opens an operator's file, and returns its name for messages with it.
///
/// # Errors
/// [`PluginError::File`], and [`PluginError::Unfit`] for a folder, a pipe or the like.
pub(crate) fn open_original(path: &Path) -> Result<(String, File, Metadata), PluginError> {
    let file = name_of(path);
    match open_regular(path).map_err(PluginError::file(&file, "opened"))? {
        Some((source, metadata)) => Ok((file, source, metadata)),
        None => Err(PluginError::Unfit { file, reason: "is not a regular file".to_owned() }),
    }
}

/// SHA-256 of a file in hex, without staging it; `None` if it cannot be read. Blocks on the disk.
pub(crate) fn digest(path: &Path) -> Option<Digest> {
    let (file, _) = open_regular(path).ok()??;
    digest_of(&file).ok()
}

/// SHA-256 in hex of what can be read, up to the size of the largest plugin file. Blocks on the disk.
pub(crate) fn digest_of(file: impl Read) -> io::Result<Digest> {
    hash(file.take(FILE_BYTES_MAX), |error| error, |_| Ok(()))
}

/// Hashes all of a source, and hands on each chunk of it.
fn hash<E>(
    mut source: impl Read,
    unreadable: impl Fn(io::Error) -> E,
    mut hand_on: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Digest, E> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = source.read(&mut chunk).map_err(&unreadable)?;
        if read == 0 {
            return Ok(Digest::from(<[u8; 32]>::from(digest.finalize())));
        }
        digest.update(&chunk[..read]);
        hand_on(&chunk[..read])?;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    /// A stager of a folder of the scratch directory.
    pub(crate) fn stager(scratch: &Path) -> Stager {
        Stager::new(PrivatePath::inside(scratch, "staged"), BTreeMap::new()).unwrap()
    }

    #[test]
    fn a_copy_is_private_hashed_and_never_reused() {
        let scratch = tempfile::tempdir().unwrap();
        let original = scratch.path().join("libx.so");
        fs::write(&original, b"other").unwrap();
        let folder = scratch.path().join("staged");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("litter"), b"").unwrap();
        std::os::unix::fs::symlink(&original, folder.join("link")).unwrap();
        fs::write(folder.join("needed"), b"").unwrap();
        let recorded = BTreeMap::from([("needed".to_owned(), Digest::from([0; 32]))]);
        let stager = Stager::new(PrivatePath::inside(scratch.path(), "staged"), recorded).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(folder.join("needed").exists() && original.exists());
        let first = stager.stage(&b"abc"[..], "libx.so").unwrap();
        let second = stager.stage(File::open(&original).unwrap(), "libx.so").unwrap();
        let (one, two) = (folder.join(&first.copy), folder.join(&second.copy));
        assert_ne!(one, two);
        assert_eq!(fs::read(&one).unwrap(), b"abc");
        assert_eq!(
            first.sha256.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest(&one), Some(first.sha256));
        second.recorded.store(true, Ordering::Relaxed);
        drop((first, second));
        assert!(!one.exists() && two.exists());
    }

    #[test]
    fn a_recorded_copy_is_taken_once_and_only_as_it_was() {
        const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("staged");
        let stager = |content: &[u8]| {
            drop(stager(scratch.path()));
            fs::write(folder.join("old.so"), content).unwrap();
            let recorded = BTreeMap::from([("old.so".to_owned(), ABC.parse().unwrap())]);
            Stager::new(PrivatePath::inside(scratch.path(), "staged"), recorded).unwrap()
        };
        let taken = |stager: &Stager, source: &[u8]| {
            let mut source = io::Cursor::new(source.to_vec());
            let taken = stager.adopt(&mut source, "libx.so").unwrap();
            assert_eq!(source.position(), 0);
            taken.map(|staged| staged.copy.clone())
        };
        let whole = stager(b"abc");
        assert_eq!(taken(&whole, b"abd"), None);
        assert_eq!(taken(&whole, b"abc").as_deref(), Some("old.so"));
        assert!(folder.join("old.so").exists(), "the record names it");
        assert_eq!(taken(&whole, b"abc"), None, "no two libraries are mapped from one path");
        assert_eq!(taken(&stager(b"abd"), b"abc"), None, "the copy has changed");
        let later = stager(b"abc");
        later.end_of_start();
        assert_eq!(taken(&later, b"abc"), None);
    }

    #[test]
    fn a_folder_that_is_in_the_way_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("staged/inner")).unwrap();
        let refused = Stager::new(PrivatePath::inside(scratch.path(), "staged"), BTreeMap::new());
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("staged/inner: Is a directory"), "{refused}");
    }
}
