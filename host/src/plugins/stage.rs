//! Staging: a private copy of a plugin file, hashed while it is copied; only the copy is used from then on.
//!
//! The operator may overwrite, truncate or delete the original at any time: overwriting a mapped file kills the
//! process, and the same path or inode would give the old code again.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::PluginError;

/// Largest plugin file in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A folder of staged copies; only this process uses it.
#[derive(Debug)]
pub struct Stager {
    folder: PathBuf,
    next: AtomicU64,
}

/// A private copy of a plugin file. The copy is removed when this is dropped; a mapped library stays mapped.
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
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Left behind, it is removed with the folder at the next start.
        let _left_behind = fs::remove_file(&self.path);
        super::trust::forget_signature(&self.path);
    }
}

impl Stager {
    /// Makes the folder anew, private to the user; whatever an earlier process left in it is removed.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(folder: &Path) -> std::io::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), next: AtomicU64::new(1) })
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
            self.folder.join(format!("{}-{number}{}", std::process::id(), std::env::consts::DLL_SUFFIX));
        let mut copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o500)
            .open(&path)
            .map_err(refuse("copied to the state directory"))?;
        let mut staged = Staged { path, file: file.clone(), sha256: String::new(), bytes: 0 };
        let mut digest = Sha256::new();
        let mut chunk = vec![0; 256 * 1024];
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
        staged.sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(staged)
    }
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
        let stager = Stager::new(&folder).unwrap();
        assert!(!folder.join("litter").exists());
        let first = stager.stage(&original).unwrap();
        fs::write(&original, b"other").unwrap();
        let second = stager.stage(&original).unwrap();
        assert_ne!(first.path, second.path);
        assert_eq!(fs::read(&first.path).unwrap(), b"abc");
        assert_eq!(first.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let path = first.path.clone();
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_a_file_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let stager = Stager::new(&scratch.path().join("staged")).unwrap();
        let missing = stager.stage(&scratch.path().join("libx.so")).unwrap_err().to_string();
        assert!(missing.starts_with("plugin file `libx.so` cannot be opened: "), "{missing}");
        let folder = stager.stage(scratch.path()).unwrap_err().to_string();
        assert!(folder.ends_with("is not a regular file"), "{folder}");
    }
}
