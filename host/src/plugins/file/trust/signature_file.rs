//! The file `NAME.minisig` beside a plugin file, or beside its staged copy.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{DirFault, PrivateDir, Stamp};

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
    let mut path = OsString::from(file);
    path.push(ENDING);
    path.into()
}

/// The stamp of the signature beside a file, if there is one.
pub(crate) fn signature_stamp(file: &Path) -> Option<Stamp> {
    Stamp::at(&signature_path(file))
}

/// The name of the copy that a file of this name is the signature of.
pub(crate) fn copy_of_signature(name: &str) -> Option<&str> {
    name.strip_suffix(ENDING)
}

/// Waits until a copy's signature, where there is one, has reached the disk.
pub(crate) fn sync_signature(folder: &PrivateDir, copy: &str) -> io::Result<()> {
    match folder.read(&signature_name(copy)) {
        Ok(signature) => signature.sync_all(),
        Err(DirFault::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

/// Removes a copy's signature, where there is one.
pub(crate) fn forget_signature(folder: &PrivateDir, copy: &str) {
    let _none = folder.remove(signature_name(copy));
}
