//! A clock that does not go back between lives of the host.
//!
//! The host knows which frames are new only for one life; the stamps of frames from earlier lives are older than its
//! start. So a clock that begins anew at each boot, or that was set back, would make them fresh again. The state
//! directory keeps the latest time that the host has known, and the next life continues from there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Clock, Tasks};
use crate::http::Service;

/// The interval of writes, while there are frames to remember.
const EVERY: Duration = Duration::from_secs(15);
/// The length of the record, padded with spaces: it is constant, so that nothing of an older one is left.
const BYTES: usize = 256;

/// The time as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    /// Unix time in milliseconds.
    at_ms: u64,
    /// The system's id of its boot; empty if there is none.
    boot: String,
    /// The host ended after that. Otherwise it may have gone on for [`EVERY`].
    ended: bool,
}

/// Starts the clock of this life. `file` is the lock of the state directory, which also holds the time.
pub(super) fn start(file: &File) -> Clock {
    let (clock, boot) = (Clock::start(), boot());
    let mark = read(file).unwrap_or_else(|error| {
        tracing::warn!("the latest time of an earlier life cannot be read from the state directory: {error}");
        None
    });
    let known = mark.and_then(|mark| later_than(&mark, clock.started_at_ms(), &boot));
    if let Some(known_ms) = known {
        tracing::warn!(
            clock_ms = clock.started_at_ms(),
            known_ms,
            "the system's clock went back, and this host has known a later time: frames are stamped and taken from there \
             on, so that no recorded one is fresh again. Set the clock; if the later time was wrong, stop the host, remove \
             `lock` from the state directory, and start it again"
        );
    }
    let clock = clock.not_before(known.unwrap_or_default());
    write(file, &Mark { at_ms: clock.now_ms(), boot, ended: false });
    clock
}

/// Writes the time again and again, as long as there are frames to remember.
pub(super) async fn keep(file: Arc<File>, service: Arc<Service>, tasks: Tasks) {
    loop {
        tokio::select! {
            () = tasks.token().cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if service.replays.remembered() > 0 {
            let (file, mark) = (Arc::clone(&file), mark(service.clock, false));
            // A file system that hangs costs one thread: the next turn waits for it.
            let _lost = tokio::task::spawn_blocking(move || write(&file, &mark)).await;
        }
    }
}

/// Writes the time for the last time: no more frames are accepted.
pub(super) fn leave(file: &File, clock: Clock) {
    write(file, &mark(clock, true));
}

fn mark(clock: Clock, ended: bool) -> Mark {
    Mark { at_ms: clock.now_ms(), boot: boot(), ended }
}

/// Returns the time that an earlier life may have known, if it is later than now.
fn later_than(mark: &Mark, now_ms: u64, boot: &str) -> Option<u64> {
    let latest = match mark.ended {
        true => mark.at_ms,
        false => mark.at_ms.saturating_add(u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX)),
    };
    // Within one boot, the clock goes back only if it is set back.
    let is_one_boot = mark.boot == boot || mark.boot.is_empty() || boot.is_empty();
    let went_back = if is_one_boot { now_ms < mark.at_ms } else { now_ms < latest };
    went_back.then_some(latest)
}

fn read(file: &File) -> io::Result<Option<Mark>> {
    let mut text = [b' '; BYTES];
    let read = file.read_at(&mut text, 0)?;
    match text[..read].trim_ascii() {
        [] => Ok(None),
        text => Ok(Some(serde_json::from_slice(text)?)),
    }
}

/// Writes the record in one piece over the last one.
fn write(file: &File, mark: &Mark) {
    let text = serde_json::to_string(mark).map(|text| format!("{text:<width$}\n", width = BYTES - 1));
    let written = text.map_err(io::Error::from).and_then(|text| {
        file.write_all_at(text.as_bytes(), 0)?;
        file.sync_data()
    });
    if let Err(error) = written {
        tracing::warn!("the time cannot be written to the state directory: {error}");
    }
}

/// Returns the system's id of its boot.
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
            // A crash, and a restart at once.
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
        let file = tempfile::tempfile().unwrap();
        let clock = start(&file);
        let later = clock.now_ms() + 50_000;
        leave(&file, clock.not_before(later));
        assert!(start(&file).started_at_ms() >= later);
        assert_eq!(read(&file).unwrap().map(|mark| mark.ended), Some(false));
        assert_eq!(file.metadata().unwrap().len(), BYTES as u64);
        for text in ["", "{}", "{\"at_ms\":-1,\"boot\":\"\",\"ended\":true}", "\u{0}"] {
            file.set_len(0).unwrap();
            file.write_all_at(text.as_bytes(), 0).unwrap();
            assert!(start(&file).started_at_ms() < later, "{text}");
            assert!(read(&file).unwrap().is_some());
        }
    }
}
