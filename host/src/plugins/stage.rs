//! Staging: a private copy of a plugin file, hashed while it is copied; only the copy is used from then on.
//!
//! The operator may overwrite, truncate or delete the original at any time: overwriting a mapped file kills the
//! process, and the same path or inode would give the old code again.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::PluginError;

/// Largest plugin file in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// How much is read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// A folder of staged copies; only this process uses it.
#[derive(Debug)]
pub struct Stager {
    folder: PathBuf,
    /// Random: no two processes that used the folder give the same name.
    process: u64,
    next: AtomicU64,
}

/// A private copy of a plugin file. The copy is removed when this is dropped, unless the commit record names it;
/// a mapped library stays mapped.
#[derive(Debug)]
pub struct Staged {
    /// Where the copy is.
    pub path: PathBuf,
    /// Name of the operator's file.
    pub file: String,
    /// SHA-256 of the copied bytes, in hex.
    pub sha256: String,
    /// Size of the copy.
    pub bytes: u64,
    /// The commit record names the copy: the next start may need it.
    pub(super) recorded: AtomicBool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.recorded.load(Ordering::Relaxed) {
            // Left behind, it is removed at the next start.
            let _left_behind = fs::remove_file(&self.path);
            super::trust::forget_signature(&self.path);
        }
    }
}

impl Stager {
    /// Makes the folder, private to the user; of what an earlier process left in it, only `needed` stays.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(folder: &Path, needed: &BTreeSet<String>) -> std::io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !needed.contains(super::trust::copy_of_signature(&name).unwrap_or(&name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder: folder.to_owned(), process: rand::random(), next: AtomicU64::new(1) })
    }

    /// Where the copies are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Copies `original`, under a name that is never used again.
    ///
    /// # Errors
    /// [`PluginError::File`] and [`PluginError::TooLarge`].
    pub fn stage(&self, original: &Path) -> Result<Staged, PluginError> {
        let file = original.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let refuse = |action: &'static str| {
            let file = file.clone();
            move |source| PluginError::File { file, action, source }
        };
        // Looked at before it is opened: opening a pipe waits for whoever writes to it.
        if !fs::metadata(original).map_err(refuse("opened"))?.is_file() {
            return Err(PluginError::NotALibrary { file, reason: "is not a regular file".to_owned() });
        }
        let mut source = File::open(original).map_err(refuse("opened"))?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path =
            self.folder.join(format!("{:016x}-{number}{}", self.process, std::env::consts::DLL_SUFFIX));
        let mut copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o500)
            .open(&path)
            .map_err(refuse("copied to the state directory"))?;
        let recorded = AtomicBool::new(false);
        let mut staged = Staged { path, file: file.clone(), sha256: String::new(), bytes: 0, recorded };
        let mut digest = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = source.read(&mut chunk).map_err(refuse("read"))?;
            if read == 0 {
                break;
            }
            staged.bytes += read as u64;
            if staged.bytes > FILE_BYTES_MAX {
                return Err(PluginError::TooLarge { file, bytes_max: FILE_BYTES_MAX });
            }
            digest.update(&chunk[..read]);
            copy.write_all(&chunk[..read]).map_err(refuse("copied to the state directory"))?;
        }
        staged.sha256 = hex(&digest.finalize());
        Ok(staged)
    }
}

/// SHA-256 of a file in hex, without staging it; `None` if it cannot be read. Blocks on the disk.
pub(super) fn digest(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?.take(FILE_BYTES_MAX);
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).ok()? {
            0 => return Some(hex(&digest.finalize())),
            read => digest.update(&chunk[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_private_hashed_and_never_reused() {
        let scratch = tempfile::tempdir().unwrap();
        let original = scratch.path().join("libx.so");
        fs::write(&original, b"abc").unwrap();
        let folder = scratch.path().join("staged");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("litter"), b"").unwrap();
        fs::write(folder.join("needed"), b"").unwrap();
        let stager = Stager::new(&folder, &BTreeSet::from(["needed".to_owned()])).unwrap();
        assert!(!folder.join("litter").exists() && folder.join("needed").exists());
        let first = stager.stage(&original).unwrap();
        fs::write(&original, b"other").unwrap();
        let second = stager.stage(&original).unwrap();
        assert_ne!(first.path, second.path);
        assert_eq!(fs::read(&first.path).unwrap(), b"abc");
        assert_eq!(first.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest(&first.path).as_deref(), Some(first.sha256.as_str()));
        let path = first.path.clone();
        drop(first);
        assert!(!path.exists());
        second.recorded.store(true, Ordering::Relaxed);
        let path = second.path.clone();
        drop(second);
        assert!(path.exists());
    }

    #[test]
    fn what_is_not_a_file_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let stager = Stager::new(&scratch.path().join("staged"), &BTreeSet::new()).unwrap();
        let missing = stager.stage(&scratch.path().join("libx.so")).unwrap_err().to_string();
        assert!(missing.starts_with("plugin file `libx.so` cannot be opened: "), "{missing}");
        let folder = stager.stage(scratch.path()).unwrap_err().to_string();
        assert!(folder.ends_with("is not a regular file"), "{folder}");
    }
}
