//! A clock that does not go back from one life of the host to the next.
//!
//! Which frames are new is known for one life; those of earlier lives are recognised by stamps from before this one
//! began. So a clock that begins anew at each boot, or that was set back, would make them fresh again. The latest time
//! that a host has known is kept in the state directory, and the next life goes on from there.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Clock, Tasks};
use crate::files::{DirFault, PrivateDir};
use crate::http::Door;

/// The name of the file.
const NAME: &str = "clock";
/// How often the time is written, as long as there are frames.
const EVERY: Duration = Duration::from_secs(15);
/// Longest file that is read, in bytes.
const BYTES_MAX: u64 = 4096;

/// What is written of the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    /// Unix time in milliseconds.
    at_ms: u64,
    /// The system's id of its boot; empty where it does not tell.
    boot: String,
    /// The host ended after that; otherwise it may have gone on for [`EVERY`].
    ended: bool,
}

/// Starts the clock of this life.
///
/// # Errors
/// For a file that others than this user may have written, and what the system says of the directory.
pub(super) fn start(state: &Path) -> Result<Clock, DirFault> {
    let folder = PrivateDir::open(state)?;
    let (clock, boot) = (Clock::start(), boot());
    let mark = read(&folder)?;
    let known = mark.and_then(|mark| later_than(&mark, clock.started_at_ms(), &boot));
    if let Some(known_ms) = known {
        tracing::warn!(
            clock_ms = clock.started_at_ms(),
            known_ms,
            file = %state.join(NAME).display(),
            "the system's clock went back, and this host has known a later time: frames are stamped and taken from there \
             on, so that no recorded one is fresh again. Set the clock; if the later time was wrong, remove the file and \
             start again"
        );
    }
    let clock = clock.not_before(known.unwrap_or_default());
    write(state, &Mark { at_ms: clock.now_ms(), boot, ended: false });
    Ok(clock)
}

/// Writes the time again and again, as long as there are frames.
pub(super) async fn keep(state: PathBuf, door: Arc<Door>, tasks: Tasks) {
    loop {
        tokio::select! {
            () = tasks.token().cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if door.replays.remembered() > 0 {
            let (state, mark) = (state.clone(), mark(door.clock, false));
            // A system that hangs costs one thread: the next turn waits for it.
            let _lost = tokio::task::spawn_blocking(move || write(&state, &mark)).await;
        }
    }
}

/// Writes the time once more: no frame is taken any more.
pub(super) fn leave(state: &Path, clock: Clock) {
    write(state, &mark(clock, true));
}

fn mark(clock: Clock, ended: bool) -> Mark {
    Mark { at_ms: clock.now_ms(), boot: boot(), ended }
}

/// The time that an earlier life may have known, if it is later than now.
fn later_than(mark: &Mark, now_ms: u64, boot: &str) -> Option<u64> {
    let latest = match mark.ended {
        true => mark.at_ms,
        false => mark.at_ms.saturating_add(u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX)),
    };
    // Within one boot, the clock stands where it stood, unless it was set back.
    let is_one_boot = mark.boot == boot || mark.boot.is_empty() || boot.is_empty();
    let went_back = if is_one_boot { now_ms < mark.at_ms } else { now_ms < latest };
    went_back.then_some(latest)
}

fn read(folder: &PrivateDir) -> Result<Option<Mark>, DirFault> {
    let opened = match folder.read(NAME) {
        Ok(opened) => opened,
        Err(DirFault::System { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(fault) => return Err(fault),
    };
    let mut text = Vec::new();
    let read = opened.take(BYTES_MAX).read_to_end(&mut text);
    let mark = read.and_then(|_| Ok(serde_json::from_slice(&text)?));
    Ok(mark
        .inspect_err(|error: &std::io::Error| {
            let file = folder.path().join(NAME);
            tracing::warn!(file = %file.display(), "the latest time of an earlier life cannot be read: {error}");
        })
        .ok())
}

fn write(state: &Path, mark: &Mark) {
    let text = serde_json::to_vec(mark).map_err(std::io::Error::from);
    let folder = PrivateDir::open(state).map_err(std::io::Error::from);
    if let Err(error) = text.and_then(|text| folder?.replace(NAME, &text)) {
        tracing::warn!("the time cannot be written to the state directory: {error}");
    }
}

/// The system's id of its boot.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_went_back_goes_on_from_where_it_was() {
        let mark = |ended| Mark { at_ms: 100_000, boot: "one".to_owned(), ended };
        let check = |ended: bool, now_ms: u64, boot: &str, expected: Option<u64>| {
            assert_eq!(later_than(&mark(ended), now_ms, boot), expected, "{ended} {now_ms} {boot}");
        };
        for boot in ["one", ""] {
            check(true, 100_000, boot, None);
            check(true, 99_999, boot, Some(100_000));
            // It crashed, and is started again at once.
            check(false, 100_001, boot, None);
            check(false, 99_999, boot, Some(115_000));
        }
        check(true, 100_001, "two", None);
        check(true, 99_999, "two", Some(100_000));
        check(false, 100_001, "two", Some(115_000));
        check(false, 115_000, "two", None);
    }

    #[test]
    fn the_time_is_kept_and_what_is_no_time_is_passed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let (state, folder) = (scratch.path(), PrivateDir::open(scratch.path()).unwrap());
        let clock = start(state).unwrap();
        let later = clock.now_ms() + 50_000;
        leave(state, clock.not_before(later));
        assert!(start(state).unwrap().started_at_ms() >= later);
        assert_eq!(read(&folder).unwrap().map(|mark| mark.ended), Some(false));
        for text in ["", "{}", "{\"at_ms\":-1,\"boot\":\"\",\"ended\":true}"] {
            folder.replace(NAME, text.as_bytes()).unwrap();
            assert!(start(state).unwrap().started_at_ms() < later, "{text}");
        }
    }
}
