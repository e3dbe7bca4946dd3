//! Opens files and directories without waiting, and checks them through their descriptors, so that the host uses exactly
//! the ones that it checked.
//!
//! Layer: above `base`. Inside a [`PrivateDir`] it must never follow a link, and it never trusts a path twice.

mod fault;
mod links;
mod private_dir;
mod socket_file;
mod stamp;
mod walk;

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub use fault::DirFault;
pub use links::Links;
pub use private_dir::{PrivateDir, PrivatePath};
pub use socket_file::SocketPlace;
pub use stamp::Stamp;

/// Opens a file for reading, also behind a link, and returns the metadata of its descriptor; `None` for a pipe, a
/// device, a socket or a directory, none of which it waits for.
///
/// # Errors
/// The error of the system.
pub fn open_regular(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // Before it is opened, as opening a device may have effects; and again then, as it may be another file by now.
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
        for (name, is_regular) in [
            ("file", true),
            ("link", true),
            ("pipe", false),
            ("socket", false),
            ("device", false),
            (".", false),
        ] {
            assert_eq!(open_regular(&at(name)).unwrap().is_some(), is_regular, "{name}");
        }
        assert_eq!(open_regular(&at("gone")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
