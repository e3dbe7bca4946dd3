//! Reads the config file and files of secrets: bounded, so that no device or mistake fills the memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::config::ConfigError;

/// Longest config file in bytes.
const FILE_BYTES_MAX: usize = 1 << 20;
/// Time limit for a pipe to bring the whole text.
const PIPE_WAIT: Duration = Duration::from_secs(5);

/// The mark of UTF-8 at the beginning of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file that was read whole.
pub(in crate::config) struct FileBytes {
    pub(in crate::config) bytes: Zeroizing<Vec<u8>>,
    /// Every user of the machine may read the file.
    pub(in crate::config) readable_by_others: bool,
}

/// A reason for which a file is not read, as a half sentence after its name.
#[derive(Debug, thiserror::Error)]
pub(in crate::config) enum FileError {
    #[error("is a directory")]
    Directory,
    #[error("has more than {0} bytes")]
    TooLarge(usize),
    #[error("does not exist")]
    Missing,
    #[error("cannot be read: {}", .0.kind())]
    Unreadable(io::Error),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Missing } else { Self::Unreadable(error) }
    }
}

/// Reads at most `bytes_max` bytes, into one allocation that is wiped when it is dropped.
pub(in crate::config) fn bounded(path: &Path, bytes_max: usize) -> Result<FileBytes, FileError> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(FileError::Directory);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    read_to_end(&mut file.take(limit), &mut bytes, Instant::now() + PIPE_WAIT)?;
    if bytes.len() > bytes_max {
        return Err(FileError::TooLarge(bytes_max));
    }
    // Every file is text; some editors write the mark, which is not part of it.
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(FileBytes { bytes, readable_by_others: metadata.permissions().mode() & 0o004 != 0 })
}

/// Opens a file without waiting for a writer: it may be a pipe.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Reads a file, or all that a pipe brings until the deadline.
fn read_to_end(from: &mut impl Read, bytes: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
    loop {
        match from.read_to_end(bytes) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if Instant::now() >= deadline => {
                let text = "it is a pipe that a writer holds open without an end";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
        }
    }
}

/// Reads a file without secrets, of at most `bytes_max` bytes.
///
/// # Errors
/// The error of the system, or one for a longer file.
pub fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    match bounded(path, bytes_max) {
        Ok(mut file) => Ok(std::mem::take(&mut *file.bytes)),
        Err(FileError::Unreadable(error)) => Err(error),
        Err(FileError::Missing) => Err(io::ErrorKind::NotFound.into()),
        Err(error) => Err(io::Error::other(format!("it {error}"))),
    }
}

/// Returns the absolute path of a file, without links.
pub fn absolute_file(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// Turns bytes into text without leaving a copy behind; `Err` has the line of the first bad byte, counted from 1.
pub(in crate::config) fn text(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, usize> {
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        let end = error.utf8_error().valid_up_to();
        let bytes = Zeroizing::new(error.into_bytes());
        1 + bytes[..end].iter().filter(|byte| **byte == b'\n').count()
    })
}

/// Reads the config file; returns its text, and true if every user of the machine may read it.
pub(in crate::config) fn config_file(path: &Path) -> Result<(Zeroizing<String>, bool), ConfigError> {
    let owned = path.to_owned();
    match bounded(path, FILE_BYTES_MAX) {
        Ok(FileBytes { bytes, readable_by_others }) => {
            let text = text(bytes).map_err(|line| ConfigError::NotText(owned, line))?;
            Ok((text, readable_by_others))
        }
        Err(FileError::Directory) => Err(ConfigError::Directory(owned)),
        Err(FileError::TooLarge(_)) => Err(ConfigError::TooLarge(owned)),
        Err(FileError::Missing) => Err(ConfigError::Missing(owned)),
        Err(FileError::Unreadable(error)) => Err(ConfigError::Unreadable(owned, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io::Write as _;

    use super::*;
    use crate::config::{Config, Environment, Overrides};

    fn check(path: &Path, expected: &str) {
        let loaded = Config::load_with(path, &Environment::default(), &Overrides::default());
        let expected = expected.replace("PATH", &path.display().to_string());
        assert_eq!(loaded.map(|_| ()).map_err(|error| error.to_string()), Err(expected));
    }

    #[test]
    fn files_that_cannot_be_read_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        check(&file, "config file `PATH` does not exist");
        check(folder.path(), "config file `PATH` is a directory");
        std::fs::write(&file, b"[log]\nlevel = \"\xff\"\n").unwrap();
        check(&file, "config file `PATH` is not UTF-8 text, see line 2");
        std::fs::write(&file, vec![b'#'; FILE_BYTES_MAX + 1]).unwrap();
        check(&file, "config file `PATH` has more than 1048576 bytes, the most that are read");
        check(&file.join("below"), "config file `PATH` cannot be read");
        let error = config_file(&file.join("below")).unwrap_err();
        assert!(error.source().unwrap().to_string().contains("ot a directory"));
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_read_and_no_start_waits_for_one_forever() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(bounded(&pipe, 100).unwrap().bytes.as_slice(), b"", "there is no writer");
        // Opened for both, so that opening it does not wait for a reader.
        let mut writer = File::options().read(true).write(true).open(&pipe).unwrap();
        writer.write_all(b"one ").unwrap();
        let mut read = Vec::new();
        let late = read_to_end(&mut open(&pipe).unwrap(), &mut read, Instant::now());
        assert_eq!((late.unwrap_err().kind(), &read[..]), (io::ErrorKind::TimedOut, &b"one "[..]));
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| bounded(&pipe, 100).unwrap());
            writer.write_all(b"two").unwrap();
            while !reading.is_finished() && rustix::io::ioctl_fionread(&writer).unwrap() > 0 {
                std::thread::yield_now();
            }
            drop(writer);
            assert_eq!(reading.join().unwrap().bytes.as_slice(), b"two");
        });
    }

    #[test]
    fn a_file_of_the_largest_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, vec![b'#'; FILE_BYTES_MAX]).unwrap();
        assert_eq!(config_file(&file).unwrap().0.len(), FILE_BYTES_MAX);
    }
}
