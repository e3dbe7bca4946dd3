//! The earlier lives of this host: processes that held its state directory and have ended.
//!
//! A frame for one of them, on a connection that a proxy kept, can be refused with the proof that it did not run
//! (`host/WIRE.md`, "Who may open a frame"). The proof is the lock of the state directory: its holder knows that all
//! earlier holders have ended. That is certain only for the same file under the same kernel, so the record names both;
//! a copy of the directory, or a record from before a reboot, claims nothing.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::base::InstanceId;
use crate::files::PrivateDir;

/// The record in the state directory.
const FILE: &str = "instances";
/// The maximum number of lives in the record. A proxy's connections rarely outlive one.
const LIVES_MAX: usize = 16;
/// The maximum size of the record in bytes.
const BYTES_MAX: u64 = 4096;
/// The locked file in the state directory.
const LOCK: &str = "lock";
/// An id that Linux makes anew at every boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Records this process, and returns the earlier holders of the directory, newest first.
///
/// The lock of `state_dir` must be held until the process ends.
///
/// # Errors
/// The error of the system. The host works without the record.
pub(super) fn succeed(state_dir: &Path, own: InstanceId) -> io::Result<Vec<InstanceId>> {
    let folder = PrivateDir::open(state_dir)?;
    let place = place(&folder)?;
    let mut lives = read(&folder, &place).unwrap_or_default();
    lives.truncate(LIVES_MAX - 1);
    let lines = std::iter::once(&own).chain(&lives).map(|life| format!("{life}\n")).collect::<String>();
    folder.replace(FILE, format!("{place}\n{lines}").as_bytes())?;
    Ok(lives)
}

/// Returns the identity of the lock and the kernel under which a record counts.
fn place(folder: &PrivateDir) -> io::Result<String> {
    let boot = fs::read_to_string(BOOT_ID)?;
    let lock = folder.read(LOCK)?.metadata()?;
    Ok(format!("{} {} {}", boot.trim(), lock.dev(), lock.ino()))
}

fn read(folder: &PrivateDir, place: &str) -> Option<Vec<InstanceId>> {
    let mut text = String::new();
    folder.read(FILE).ok()?.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    let (written_under, lives) = text.split_once('\n')?;
    (written_under == place).then(|| lives.lines().map_while(InstanceId::parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_that_held_the_same_lock_are_known_newest_first() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(LOCK), "").unwrap();
        let lives: Vec<_> = (0..20).map(|_| InstanceId::random()).collect();
        for (number, life) in lives.iter().enumerate() {
            let known = succeed(state.path(), *life).unwrap();
            let expected: Vec<_> = lives[..number].iter().rev().take(LIVES_MAX - 1).copied().collect();
            assert_eq!(known, expected);
        }
    }

    #[test]
    fn a_copy_of_the_directory_claims_nothing() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for state in [&one, &other] {
            fs::write(state.path().join(LOCK), "").unwrap();
        }
        succeed(one.path(), InstanceId::random()).unwrap();
        fs::copy(one.path().join(FILE), other.path().join(FILE)).unwrap();
        assert_eq!(succeed(other.path(), InstanceId::random()).unwrap(), []);
    }

    #[test]
    fn a_record_that_is_damaged_claims_what_is_whole() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(LOCK), "").unwrap();
        let (place, life) = (place(&PrivateDir::open(state.path()).unwrap()).unwrap(), InstanceId([7; 16]));
        for (text, expected) in [
            (format!("{place}\n{life}\n0707"), vec![life]),
            (format!("{place}\nnot one\n{life}\n"), vec![]),
            (place.clone(), vec![]),
            (format!("elsewhere\n{life}\n"), vec![]),
            (String::new(), vec![]),
        ] {
            fs::write(state.path().join(FILE), &text).unwrap();
            assert_eq!(succeed(state.path(), InstanceId::random()).unwrap(), expected, "{text}");
        }
        fs::remove_file(state.path().join(FILE)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", state.path().join(FILE)).unwrap();
        assert_eq!(succeed(state.path(), InstanceId::random()).unwrap(), []);
    }
}
