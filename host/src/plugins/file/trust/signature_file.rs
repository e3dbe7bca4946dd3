//! The file `NAME.minisig` beside a plugin file, or beside its staged copy.

use std::io;
use std::path::{Path, PathBuf};

use crate::files::{DirFault, PrivateDir};

/// Longest signature file in bytes; minisign writes about 300, most of it comments.
pub(crate) const SIGNATURE_BYTES_MAX: u64 = 4096;
/// Largest plugin file in bytes for a signature of the old kind, which is over the file itself: all of it has to be
/// in memory at once.
pub(crate) const LEGACY_BYTES_MAX: u64 = 128 << 20;
/// The ending that a signature file adds to the name of the plugin file.
pub(crate) const ENDING: &str = ".minisig";

/// The name of the signature of a file, beside which it lies.
pub(crate) fn signature_name(file: &str) -> String {
    format!("{file}{ENDING}")
}

/// Returns the path of the signature of a file.
pub(crate) fn signature_path(file: &Path) -> PathBuf {
    file.with_added_extension(&ENDING[1..])
}

/// Waits until a copy's signature, where there is one, has reached the disk.
pub(crate) fn sync_signature(folder: &PrivateDir, copy: &str) -> io::Result<()> {
    match folder.read(&signature_name(copy)) {
        Ok(signature) => signature.sync_all(),
        Err(DirFault::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}
