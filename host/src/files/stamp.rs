//! A stamp tells one content of a file from another without reading it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The resolution of file systems' clocks: two writes within this time may leave the same times.
const STEP: Duration = Duration::from_secs(1);

/// Place, size and times of a file. A file that is written to, replaced or given other permissions gets another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Returns the stamp of an open file from its metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns the stamp of the file that a path leads to now; `None` if there is none.
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }

    /// Returns the time of the last change.
    pub fn changed_at(&self) -> SystemTime {
        let (seconds, nanoseconds) = self.changed;
        let since = Duration::new(seconds.try_into().unwrap_or(0), nanoseconds.try_into().unwrap_or(0));
        UNIX_EPOCH + since
    }

    /// Returns true if the file was at rest at `now`, so that each later change gives it another stamp.
    pub fn was_settled(&self, now: SystemTime) -> bool {
        now.duration_since(self.changed_at()).is_ok_and(|rest| rest > STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_or_replaced_has_another_stamp() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        assert_eq!(Stamp::at(&file), None);
        fs::write(&file, "1").unwrap();
        let first = Stamp::at(&file).unwrap();
        assert_eq!(Stamp::at(&file), Some(first));
        assert!(!first.was_settled(first.changed_at()));
        assert!(first.was_settled(first.changed_at() + 2 * STEP));
        assert!(!first.was_settled(first.changed_at() - STEP), "of a clock that went back nothing is known");
        fs::write(&file, "12").unwrap();
        assert_ne!(Stamp::at(&file), Some(first));
        fs::write(scratch.path().join("other"), "1").unwrap();
        fs::rename(scratch.path().join("other"), &file).unwrap();
        assert_ne!(Stamp::at(&file), Some(first));
    }
}
